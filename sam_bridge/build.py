"""SAM in any size, out of `segment_anything`'s own parts; released weights in."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from sam_bridge.attention import use_fast_attention
from sam_bridge.files import check_fit, read_tensors
from sam_bridge.sizes import PIXEL_MEAN, PIXEL_STD, SamSize
from sam_bridge.stem import ConvStem


def build_sam(size: SamSize) -> Sam:
    """A SAM with random weights, of `segment_anything`'s unmodified modules."""
    encoder = ImageEncoderViT(
        img_size=size.image_size,
        patch_size=size.patch_size,
        embed_dim=size.width,
        depth=size.depth,
        num_heads=size.heads,
        mlp_ratio=size.mlp_ratio,
        out_chans=size.prompt_width,
        qkv_bias=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=size.window,
        global_attn_indexes=size.global_blocks,
    )
    use_fast_attention(encoder)
    if size.stem_widths:
        encoder.patch_embed = _StemEmbed(size)
    prompt_encoder = PromptEncoder(
        embed_dim=size.prompt_width,
        image_embedding_size=(size.grid, size.grid),
        input_image_size=(size.image_size, size.image_size),
        mask_in_chans=size.mask_width,
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
        iou_head_depth=size.iou_depth,
        iou_head_hidden_dim=size.iou_width,
    )
    return Sam(encoder, prompt_encoder, decoder, list(PIXEL_MEAN), list(PIXEL_STD))


class _StemEmbed(ConvStem):
    """`ConvStem` as SAM's encoder calls its patch embedding: (B, 3, s, s) -> (B, g, g, C)."""

    def __init__(self, size: SamSize) -> None:
        super().__init__(size.stem_widths, size.width, size.patch_size)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().forward(pixels).permute(0, 2, 3, 1)


def restore_constants(sam: Sam) -> None:
    """Set SAM's pixel mean and deviation again: no checkpoint holds them, and some loaders leave them undefined."""
    for buffer, values in ((sam.pixel_mean, PIXEL_MEAN), (sam.pixel_std, PIXEL_STD)):
        buffer.copy_(torch.tensor(values).view(-1, 1, 1))


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
    weights = read_tensors(path)
    check_fit(path, weights, sam.state_dict(), "this SAM", "choose the --sam size that the file was made for")
    sam.load_state_dict(weights)
