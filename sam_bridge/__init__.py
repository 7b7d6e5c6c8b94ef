"""Everything that touches `segment_anything`, and nothing else: sizes, build, geometry, encode, decode.

The names below are imported when they are first used, so that `sam_bridge.sizes` stays light to import.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Clicks": "sam_bridge.correct",
    "EmbeddingCache": "sam_bridge.cache",
    "SAM_PRESETS": "sam_bridge.sizes",
    "ImageSize": "sam_bridge.geometry",
    "SamSize": "sam_bridge.sizes",
    "build_sam": "sam_bridge.build",
    "check_fit": "sam_bridge.files",
    "correct_masks": "sam_bridge.correct",
    "decode_masks": "sam_bridge.decode",
    "dense_positions": "sam_bridge.decode",
    "encode_images": "sam_bridge.encode",
    "load_sam_weights": "sam_bridge.build",
    "masks_to_low_res": "sam_bridge.geometry",
    "measure_sam": "sam_bridge.sizes",
    "read_tensors": "sam_bridge.files",
    "resize_and_pad": "sam_bridge.geometry",
    "restore_constants": "sam_bridge.build",
    "to_original_size": "sam_bridge.geometry",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sam_bridge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
