"""Mask models of every kind, small enough for tests: 64 px, grid 4, low-res 16."""

from __future__ import annotations

from sam_bridge import Sam2Size, SamHqSize, SamSize

SAM_SIZE = SamSize(
    image_size=64,
    patch_size=16,
    width=32,
    depth=2,
    heads=2,
    global_blocks=(1,),
    window=2,
    prompt_width=32,
    decoder_depth=2,
    decoder_heads=2,
    decoder_mlp=32,
    iou_width=16,
)
SIZES = {
    "sam": SAM_SIZE,
    "sam_hq": SamHqSize(**vars(SAM_SIZE)),
    "sam2": Sam2Size(
        image_size=64,
        widths=(8, 16, 32, 64),
        blocks=(1, 1, 2, 1),
        heads=(1, 2, 4, 8),
        windows=(4, 4, 3, 2),
        global_blocks=(3,),
        prompt_width=32,
        decoder_heads=2,
        decoder_mlp=32,
        iou_width=16,
    ),
}
"""By kind."""
