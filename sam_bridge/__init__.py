"""SAM, SAM 2 and SAM-HQ behind one interface, and nothing else: sizes, build, geometry, encode, decode.

The names below are imported when they are first used, so that `sam_bridge.sizes` stays light to import.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "AnySize": "sam_bridge.sizes",
    "Clicks": "sam_bridge.correct",
    "EmbeddingCache": "sam_bridge.cache",
    "Embeddings": "sam_bridge.embeddings",
    "MaskModel": "sam_bridge.base",
    "SAM_PRESETS": "sam_bridge.sizes",
    "ImageSize": "sam_bridge.geometry",
    "Sam2Size": "sam_bridge.sizes",
    "SamHqSize": "sam_bridge.sizes",
    "SamSize": "sam_bridge.sizes",
    "as_size": "sam_bridge.sizes",
    "build_sam": "sam_bridge.build",
    "check_finite": "sam_bridge.files",
    "check_fit": "sam_bridge.files",
    "correct_masks": "sam_bridge.correct",
    "decode_masks": "sam_bridge.decode",
    "dense_positions": "sam_bridge.decode",
    "describe": "sam_bridge.sizes",
    "encode_images": "sam_bridge.encode",
    "load_sam_weights": "sam_bridge.build",
    "masks_to_low_res": "sam_bridge.geometry",
    "measure_sam": "sam_bridge.measure",
    "picture_key": "sam_bridge.cache",
    "prepare_pixels": "sam_bridge.geometry",
    "read_sam_weights": "sam_bridge.build",
    "read_tensors": "sam_bridge.files",
    "resize_and_pad": "sam_bridge.geometry",
    "to_original_size": "sam_bridge.geometry",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sam_bridge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
