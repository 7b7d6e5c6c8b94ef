"""The sizes of SAM: the released ones, and a tiny one. Light to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    mlp_ratio: float = 4
    """Width of the encoder's MLPs, as a multiple of `width`."""
    mask_width: int = 16
    """Channels of a mask prompt, which LISA does not use."""
    iou_depth: int = 3
    """Layers of the head that predicts IoU."""

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


def measure_sam(shapes: Mapping[str, Sequence[int]], decoder_heads: int = 8) -> SamSize:
    """The size of the SAM that has weights of these shapes, by official name.

    Everything can be read off but the decoder's number of heads; every released SAM has 8. ValueError names a weight
    without which no size can be told.
    """
    try:
        width, _, patch_size, _ = shapes["image_encoder.patch_embed.proj.weight"]
        grid = shapes["image_encoder.pos_embed"][1]
        depth = _count(shapes, "image_encoder.blocks.{}.attn.rel_pos_h")
        # A block's table of relative positions has 2 n - 1 rows, n being the side that it attends over.
        tables = [shapes[f"image_encoder.blocks.{k}.attn.rel_pos_h"] for k in range(depth)]
        sides = [(rows + 1) // 2 for rows, _ in tables]
        return SamSize(
            image_size=grid * patch_size,
            patch_size=patch_size,
            width=width,
            depth=depth,
            heads=width // tables[0][1],
            global_blocks=tuple(k for k, side in enumerate(sides) if side == grid),
            window=min((side for side in sides if side != grid), default=0),
            prompt_width=shapes["mask_decoder.mask_tokens.weight"][1],
            decoder_depth=_count(shapes, "mask_decoder.transformer.layers.{}.norm1.weight"),
            decoder_heads=decoder_heads,
            decoder_mlp=shapes["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0],
            iou_width=shapes["mask_decoder.iou_prediction_head.layers.0.weight"][0],
            mlp_ratio=shapes["image_encoder.blocks.0.mlp.lin1.weight"][0] / width,
            mask_width=shapes["prompt_encoder.mask_downscaling.3.weight"][0],
            iou_depth=_count(shapes, "mask_decoder.iou_prediction_head.layers.{}.weight"),
        )
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"the size of the SAM cannot be read off its weights, as {error} is missing; name it with --sam"
        ) from error


def _count(shapes: Mapping[str, Sequence[int]], name: str) -> int:
    """How many layers there are: `name` has {} where the layer's number stands."""
    return next(k for k in range(len(shapes) + 1) if name.format(k) not in shapes)


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
