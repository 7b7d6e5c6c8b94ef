"""SAM in any size, out of `segment_anything`'s own parts; released weights in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "global_blocks", tuple(self.global_blocks))
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
        image_size=192,
        patch_size=12,
        width=128,
        depth=4,
        heads=4,
        global_blocks=(0, 1, 2, 3),
        window=0,
        prompt_width=64,
        decoder_depth=2,
        decoder_heads=4,
        decoder_mlp=128,
        iou_width=32,
    ),
}


def build_sam(size: SamSize) -> Sam:
    """A SAM with random weights, of `segment_anything`'s unmodified modules."""
    encoder = ImageEncoderViT(
        img_size=size.image_size,
        patch_size=size.patch_size,
        embed_dim=size.width,
        depth=size.depth,
        num_heads=size.heads,
        mlp_ratio=4,
        out_chans=size.prompt_width,
        qkv_bias=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=size.window,
        global_attn_indexes=size.global_blocks,
    )
    prompt_encoder = PromptEncoder(
        embed_dim=size.prompt_width,
        image_embedding_size=(size.grid, size.grid),
        input_image_size=(size.image_size, size.image_size),
        mask_in_chans=16,
    )
    transformer = TwoWayTransformer(
        depth=size.decoder_depth,
        embedding_dim=size.prompt_width,
        mlp_dim=size.decoder_mlp,
        num_heads=size.decoder_heads,
    )
    decoder = MaskDecoder(
        transformer_dim=size.prompt_width,
        transformer=transformer,
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=size.iou_width,
    )
    return Sam(encoder, prompt_encoder, decoder, list(PIXEL_MEAN), list(PIXEL_STD))


def load_sam_weights(sam: Sam, path: str | Path) -> None:
    """Load a released SAM checkpoint (`sam_vit_h_4b8939.pth` and its like) into `sam`.

    Every key must fit: a ValueError names those that are missing, unexpected or of another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no SAM weights at {path}; download them from the segment-anything repository, "
            "or leave --vision_pretrained empty to start from random weights"
        )
    weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    wanted = sam.state_dict()
    missing = sorted(wanted.keys() - weights.keys())
    unexpected = sorted(weights.keys() - wanted.keys())
    reshaped = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted.keys() & weights.keys()
        if weights[key].shape != wanted[key].shape
    ]
    if missing or unexpected or reshaped:
        raise ValueError(
            f"{path} does not fit this SAM: {len(missing)} keys missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}, {len(reshaped)} of another shape {reshaped[:3]}; "
            "choose the --sam size that the file was made for"
        )
    sam.load_state_dict(weights)
