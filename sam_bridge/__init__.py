"""Everything that touches `segment_anything`, and nothing else: build, geometry, encode, decode."""

from sam_bridge.build import SAM_PRESETS, SamSize, build_sam, load_sam_weights
from sam_bridge.decode import decode_masks
from sam_bridge.encode import encode_images
from sam_bridge.geometry import ImageSize, masks_to_low_res, resize_and_pad, to_original_size

__all__ = [
    "SAM_PRESETS",
    "ImageSize",
    "SamSize",
    "build_sam",
    "decode_masks",
    "encode_images",
    "load_sam_weights",
    "masks_to_low_res",
    "resize_and_pad",
    "to_original_size",
]
