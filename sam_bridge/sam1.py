"""SAM (Kirillov et al. 2023), out of `segment_anything`'s own parts."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, Sam, TwoWayTransformer
from torch import Tensor, nn

from sam_bridge.attention import use_fast_attention
from sam_bridge.base import MaskModel, build_prompt_encoder
from sam_bridge.decode import dense_positions
from sam_bridge.embeddings import Embeddings
from sam_bridge.sizes import PIXEL_MEAN, PIXEL_STD, SamSize
from sam_bridge.stem import ConvStem

Encoder = TypeVar("Encoder", bound=ImageEncoderViT)
Decoder = TypeVar("Decoder", bound=MaskDecoder)


class Sam1(MaskModel, Sam):
    """`segment_anything`'s `Sam`, with random weights, behind the interface."""

    def __init__(self, size: SamSize) -> None:
        parts = build_vit(size, ImageEncoderViT), build_prompt_encoder(size), build_decoder(size, MaskDecoder)
        Sam.__init__(self, *parts, list(PIXEL_MEAN), list(PIXEL_STD))
        self.size = size

    def encode(self, pixels: Tensor) -> Embeddings:
        return Embeddings(self.image_encoder(pixels))

    def decode(
        self, embeddings: Embeddings, sparse: Tensor, dense: Tensor, image_of: Tensor, decoder: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        # MaskDecoder repeats ONE image over all prompts. The dense prompt is added to the image per prompt, so
        # the images go in there, and the image itself is zero: the same sum, for any number of images.
        dense = embeddings.image.index_select(0, image_of) + dense
        low_res, scores = (decoder or self.mask_decoder)(
            image_embeddings=torch.zeros_like(dense[:1]),
            image_pe=dense_positions(self.prompt_encoder).to(dense.dtype),
            sparse_prompt_embeddings=sparse.to(dense.dtype),
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return low_res[:, 0], scores[:, 0]

    def restore_constants(self) -> None:
        for buffer, values in ((self.pixel_mean, PIXEL_MEAN), (self.pixel_std, PIXEL_STD)):
            buffer.copy_(torch.tensor(values).view(-1, 1, 1))


def build_vit(size: SamSize, kind: type[Encoder]) -> Encoder:
    """SAM's image encoder, with the attention and the stem of this code."""
    encoder = kind(
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
        encoder.patch_embed = StemEmbed(size.stem_widths, size.width, size.patch_size)
    return encoder


def build_decoder(size: SamSize, kind: type[Decoder]) -> Decoder:
    """SAM's mask decoder, or what goes on from it."""
    transformer = TwoWayTransformer(
        depth=size.decoder_depth,
        embedding_dim=size.prompt_width,
        mlp_dim=size.decoder_mlp,
        num_heads=size.decoder_heads,
    )
    return kind(
        transformer_dim=size.prompt_width,
        transformer=transformer,
        num_multimask_outputs=3,
        iou_head_depth=size.iou_depth,
        iou_head_hidden_dim=size.iou_width,
    )


class StemEmbed(ConvStem):
    """`ConvStem` as the encoders call their patch embedding: (B, 3, s, s) -> (B, g, g, C)."""

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels).permute(0, 2, 3, 1)
