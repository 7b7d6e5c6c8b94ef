"""The sizes of SAM, SAM 2 and SAM-HQ: the released ones, and tiny ones. Light to import."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from sam_bridge.size_check import build_size, require_positive

PIXEL_MEAN = (123.675, 116.28, 103.53)
"""Mean of ImageNet's red, green and blue in 0..255, which SAM subtracts."""
PIXEL_STD = (58.395, 57.12, 57.375)
"""Standard deviation of the same, by which SAM divides."""


@dataclass(frozen=True, kw_only=True)
class SamSize:
    """The sizes that tell one SAM from another (Kirillov et al. 2023, appendix A)."""

    family: ClassVar[str] = "sam"
    geometry: ClassVar[str] = "pad"
    """How a picture becomes a square: "pad" keeps its aspect and fills up, "squash" does not."""

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
        require_positive(self, but=("window",))
        if self.width % self.heads:
            raise ValueError(f"a SAM of width {self.width} cannot have {self.heads} heads of the same width")
        if beyond := [block for block in self.global_blocks if block >= self.depth]:
            raise ValueError(f"global_blocks names {beyond}, but the SAM's encoder has blocks 0 to {self.depth - 1}")
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

    @property
    def embedding_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(C, h, w) of each of a picture's `Embeddings`."""
        return ((self.prompt_width, self.grid, self.grid),)


@dataclass(frozen=True, kw_only=True)
class SamHqSize(SamSize):
    """A SAM with SAM-HQ's mask decoder (Ke et al. 2023), whose own sizes follow from SAM's."""

    family: ClassVar[str] = "sam_hq"

    hq_token_only: bool = False
    """The mask is that of the high-quality token alone, not its sum with SAM's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.global_blocks:
            raise ValueError("a SAM-HQ reads its first block of global attention: give global_blocks at least one")

    @property
    def embedding_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """As in SAM, and the encoder's early state."""
        return (*super().embedding_shapes, (self.width, self.grid, self.grid))


@dataclass(frozen=True, kw_only=True)
class Sam2Size:
    """The sizes that tell one SAM 2 from another (Ravi et al. 2024), SAM 2.1 being the same for pictures."""

    family: ClassVar[str] = "sam2"
    geometry: ClassVar[str] = "squash"

    image_size: int = 1024
    """Side of the square that the encoder sees, pixels; its embedding has a stride of 16."""
    widths: tuple[int, ...]
    """Channels of each of Hiera's four stages, of strides 4 to 32."""
    blocks: tuple[int, ...]
    """Blocks of each stage."""
    heads: tuple[int, ...]
    windows: tuple[int, ...] = (8, 4, 14, 7)
    """Sides of the windows in which each stage attends."""
    global_blocks: tuple[int, ...]
    """Blocks, counted through all stages, with attention over the whole picture instead."""
    background: tuple[int, int] = (7, 7)
    """Size of the part of Hiera's positions that is stretched over the picture; the other repeats in each window."""
    prompt_width: int = 256
    """Channels of the image embedding and of every prompt; E."""
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    iou_width: int = 256
    stem_widths: tuple[int, ...] = ()
    """Channels of a convolutional stem (`sam_bridge.stem`) in the place of Hiera's patch embedding; () for none."""
    conv_stages: tuple[int, ...] = ()
    """Stages of Hiera (0 to 3) whose last block follows a residual convolution; () for none."""
    dynamic_masks: bool = False
    """In evaluation, let the best of three masks take the place of mask token 0's where that is not stable."""
    mask_width: int = 16
    """Channels of a mask prompt, which LISA does not use."""

    def __post_init__(self) -> None:
        for name in (
            "widths",
            "blocks",
            "heads",
            "windows",
            "global_blocks",
            "background",
            "stem_widths",
            "conv_stages",
        ):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        require_positive(self, but=())
        four = ("widths", "blocks", "heads", "windows")
        if wrong := [name for name in four if len(getattr(self, name)) != 4 or min(getattr(self, name)) < 1]:
            raise ValueError(f"a SAM 2 has four stages: {', '.join(wrong)} must be four whole numbers of 1 or more")
        if self.image_size % 32 or (self.image_size // 4) % self.windows[0]:
            raise ValueError(
                f"SAM 2 image size {self.image_size} is no multiple of 32 or of 4 windows of {self.windows[0]} patches"
            )
        if any(one == other for one, other in zip(self.widths, self.widths[1:], strict=False)):
            raise ValueError(f"widths {self.widths}: each stage of Hiera needs another number of channels")
        firsts = {sum(self.blocks[:stage]) for stage in (1, 2, 3)}
        if wrong := firsts & set(self.global_blocks):
            raise ValueError(f"global_blocks {sorted(wrong)} begin a stage of Hiera: only later blocks can be global")

    @property
    def grid(self) -> int:
        """Side of the image embedding."""
        return self.image_size // 16

    @property
    def low_res(self) -> int:
        """Side of the mask decoder's output."""
        return 4 * self.grid

    @property
    def embedding_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(C, h, w) of each of a picture's `Embeddings`: of strides 16, 4 and 8."""
        width, grid = self.prompt_width, self.grid
        return (width, grid, grid), (width // 8, 4 * grid, 4 * grid), (width // 4, 2 * grid, 2 * grid)


AnySize = SamSize | SamHqSize | Sam2Size
_FAMILIES = {kind.family: kind for kind in (SamSize, SamHqSize, Sam2Size)}


def as_size(described: AnySize | dict[str, Any] | str) -> AnySize:
    """A size from its record, from `describe` of it, or by the name of a preset."""
    if isinstance(described, str):
        if described not in SAM_PRESETS:
            raise ValueError(f"{described!r} is no size of a SAM; choose from {', '.join(SAM_PRESETS)}")
        return SAM_PRESETS[described]
    if not isinstance(described, dict):
        return described
    given = dict(described)
    family = given.pop("family", SamSize.family)
    if family not in list(_FAMILIES):
        raise ValueError(f"{family!r} is no kind of SAM; known are {', '.join(_FAMILIES)}")
    return build_size(_FAMILIES[family], given)


def describe(size: AnySize) -> dict[str, Any]:
    """The fields of a size, for a config.json; a SAM 1 does not tell its family."""
    family = {} if size.family == SamSize.family else {"family": size.family}
    return family | asdict(size)


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


def _high_quality(size: SamSize) -> SamHqSize:
    return SamHqSize(**asdict(size))


_VIT_H = _released(1280, 32, 16, (7, 15, 23, 31))
_VIT_L = _released(1024, 24, 16, (5, 11, 17, 23))
_VIT_B = _released(768, 12, 12, (2, 5, 8, 11))
_TINY = SamSize(
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
)

SAM_PRESETS: dict[str, AnySize] = {
    "vit_h": _VIT_H,
    "vit_l": _VIT_L,
    "vit_b": _VIT_B,
    "tiny": _TINY,
    "hq_vit_h": _high_quality(_VIT_H),
    "hq_vit_l": _high_quality(_VIT_L),
    "hq_vit_b": _high_quality(_VIT_B),
    "tiny-hq": _high_quality(_TINY),
    "sam2_large": Sam2Size(
        widths=(144, 288, 576, 1152),
        blocks=(2, 6, 36, 4),
        heads=(2, 4, 8, 16),
        windows=(8, 4, 16, 8),
        global_blocks=(23, 33, 43),
    ),
    "sam2_base_plus": Sam2Size(
        widths=(112, 224, 448, 896),
        blocks=(2, 3, 16, 3),
        heads=(2, 4, 8, 16),
        global_blocks=(12, 16, 20),
        background=(14, 14),
    ),
    "sam2_small": Sam2Size(
        widths=(96, 192, 384, 768), blocks=(1, 2, 11, 2), heads=(1, 2, 4, 8), global_blocks=(7, 10, 13)
    ),
    "sam2_tiny": Sam2Size(widths=(96, 192, 384, 768), blocks=(1, 2, 7, 2), heads=(1, 2, 4, 8), global_blocks=(5, 7, 9)),
    "tiny-sam2": Sam2Size(
        image_size=256,
        widths=(16, 32, 128, 192),
        blocks=(1, 1, 2, 1),
        heads=(1, 1, 4, 4),
        windows=(8, 8, 8, 4),
        global_blocks=(3,),
        prompt_width=64,
        decoder_heads=4,
        decoder_mlp=128,
        iou_width=32,
        stem_widths=(16, 16),
        conv_stages=(2,),
    ),
}
"""By the name that --sam gives them; a released SAM 2.1 has the size of its SAM 2."""
