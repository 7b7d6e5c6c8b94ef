"""The sizes of SAM: the released ones, and a tiny one. Light to import."""

from __future__ import annotations

from dataclasses import dataclass

PIXEL_MEAN = (123.675, 116.28, 103.53)
"""Mean of ImageNet's red, green and blue in 0..255, which SAM subtracts."""
PIXEL_STD = (58.395, 57.12, 57.375)
"""Standard deviation of the same, by which SAM divides."""


@dataclass(frozen=True, kw_only=True)
class SamSize:
    """The sizes that tell one SAM from another (Kirillov et al. 2023, appendix A)."""

    image_size: int
    """Side of the square that the encoder sees, pixels."""
    patch_size: int
    width: int
    """Channels of the encoder's blocks."""
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    """Blocks with attention over the whole picture; the others attend in windows."""
    window: int
    prompt_width: int
    """Channels of the image embedding and of every prompt; E."""
    decoder_depth: int
    decoder_heads: int
    decoder_mlp: int
    iou_width: int
    stem_widths: tuple[int, ...] = ()
    """Channels of a convolutional stem (`sam_bridge.stem`) in the place of SAM's patch embedding; () for none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "global_blocks", tuple(self.global_blocks))
        object.__setattr__(self, "stem_widths", tuple(self.stem_widths))
        if self.image_size % self.patch_size:
            raise ValueError(f"SAM image size {self.image_size} is no multiple of patch size {self.patch_size}")

    @property
    def grid(self) -> int:
        """Side of the image embedding."""
        return self.image_size // self.patch_size

    @property
    def low_res(self) -> int:
        """Side of the mask decoder's output: it upsamples the image embedding four times."""
        return 4 * self.grid


def _released(width: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> SamSize:
    return SamSize(
        image_size=1024,
        patch_size=16,
        width=width,
        depth=depth,
        heads=heads,
        global_blocks=global_blocks,
        window=14,
        prompt_width=256,
        decoder_depth=2,
        decoder_heads=8,
        decoder_mlp=2048,
        iou_width=256,
    )


SAM_PRESETS: dict[str, SamSize] = {
    "vit_h": _released(1280, 32, 16, (7, 15, 23, 31)),
    "vit_l": _released(1024, 24, 16, (5, 11, 17, 23)),
    "vit_b": _released(768, 12, 12, (2, 5, 8, 11)),
    "tiny": SamSize(
        image_size=256,
        patch_size=16,
        width=128,
        depth=2,
        heads=4,
        global_blocks=(0, 1),
        window=0,
        prompt_width=64,
        decoder_depth=2,
        decoder_heads=4,
        decoder_mlp=128,
        iou_width=32,
        stem_widths=(16, 32, 64, 128),
    ),
}
