"""SAM 2 and 2.1 (Ravi et al. 2024) for pictures, out of transformers' parts; what videos need is left out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Sam2HieraDetConfig, Sam2MaskDecoderConfig, Sam2VisionConfig, Sam2VisionModel
from transformers.models.sam2.modeling_sam2 import Sam2MaskDecoder

from sam_bridge.base import MaskModel, build_prompt_encoder
from sam_bridge.decode import dense_positions
from sam_bridge.embeddings import Embeddings
from sam_bridge.sam1 import StemEmbed
from sam_bridge.sizes import Sam2Size
from sam_bridge.stem import ResidualConv

STRIDE = 4
"""Pixels between the patches of Hiera's first stage."""
SMALL_GRID = 16
"""Side of an embedding up to which torch's fused attention takes longer than plain products, in its backward pass."""


class Sam2(MaskModel):
    """With random weights; `Embeddings.fine` are the features of stride 4 (B, E / 8, 4g, 4g) and 8 (B, E / 4, 2g, 2g).

    The mask is mask token 0's. The package's predictor takes the best of the other three instead where that one changes
    with the threshold (`Sam2Size.dynamic_masks`), but the prompts of [SEG] are learned with token 0 alone, so that the
    others know nothing of them.
    """

    def __init__(self, size: Sam2Size) -> None:
        super().__init__()
        self.size = size
        self.image_encoder = Sam2ImageEncoder(size)
        self.prompt_encoder = build_prompt_encoder(size)
        config = Sam2MaskDecoderConfig(
            hidden_size=size.prompt_width,
            mlp_dim=size.decoder_mlp,
            num_attention_heads=size.decoder_heads,
            iou_head_hidden_dim=size.iou_width,
            dynamic_multimask_via_stability=size.dynamic_masks,
        )
        config._attn_implementation = "sdpa"
        self.mask_decoder = Sam2MaskDecoder(config)
        # They make the encoder's features fit the decoder, rest when it rests, and nothing in the decoder calls them.
        self.image_encoder.conv_s0, self.image_encoder.conv_s1 = self.mask_decoder.conv_s0, self.mask_decoder.conv_s1
        del self.mask_decoder.conv_s0, self.mask_decoder.conv_s1

    def encode(self, pixels: Tensor) -> Embeddings:
        image, *fine = self.image_encoder(pixels)
        return Embeddings(image, tuple(fine))

    def decode(
        self, embeddings: Embeddings, sparse: Tensor, dense: Tensor, image_of: Tensor, decoder: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        own = embeddings.index_select(image_of)
        low_res, scores, _, _ = (decoder or self.mask_decoder)(
            image_embeddings=own.image,
            image_positional_embeddings=dense_positions(self.prompt_encoder).to(own.image.dtype),
            sparse_prompt_embeddings=sparse[:, None].to(own.image.dtype),
            dense_prompt_embeddings=dense,
            multimask_output=False,
            high_resolution_features=own.fine,
        )
        return low_res[:, 0, 0], scores[:, 0, 0]


class Sam2ImageEncoder(nn.Module):
    """Hiera and its feature pyramid, and what SAM 2 does to their features before any prompt is known."""

    conv_s0: nn.Conv2d
    conv_s1: nn.Conv2d

    def __init__(self, size: Sam2Size) -> None:
        super().__init__()
        self.vision = Sam2VisionModel(_vision_config(size))
        if size.grid <= SMALL_GRID:
            self.vision.set_attn_implementation("eager")
        for module in self.vision.modules():
            # As the package starts them: transformers' normal distribution of .02 is made for larger widths.
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        if size.stem_widths:
            self.vision.backbone.patch_embed = StemEmbed(size.stem_widths, size.widths[0], STRIDE)
        for stage in size.conv_stages:
            last = sum(size.blocks[: stage + 1]) - 1
            self.blocks[last] = ConvBlock(self.blocks[last], size.widths[stage])
        self.vision.neck.position_encoding = _NoPositions()
        self.no_memory_embedding = nn.Parameter(torch.zeros(1, 1, size.prompt_width))

    @property
    def blocks(self) -> nn.ModuleList:
        """Hiera's."""
        return self.vision.backbone.blocks

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, s, s) -> embedding (B, E, g, g), features of stride 4 and of stride 8."""
        stride_4, stride_8, image = self.vision(pixels).fpn_hidden_states
        # A picture is a video's first frame, which remembers nothing.
        image = image + self.no_memory_embedding.view(1, -1, 1, 1)
        return image, self.conv_s0(stride_4), self.conv_s1(stride_8)


class ConvBlock(nn.Module):
    """A block of Hiera, (B, H, W, C) -> (B, H, W, C), that sees what is beside each place before it attends."""

    def __init__(self, block: nn.Module, width: int) -> None:
        super().__init__()
        self.conv, self.block = ResidualConv(width), block

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        return self.block(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), **kwargs)


class _NoPositions(nn.Module):
    """In the place of the pyramid's positions, which only videos read."""

    def forward(self, shape: torch.Size, device: torch.device, dtype: torch.dtype) -> Tensor:
        return torch.empty(0, device=device, dtype=dtype)


def _vision_config(size: Sam2Size) -> Sam2VisionConfig:
    hiera = Sam2HieraDetConfig(
        hidden_size=size.widths[0],
        num_attention_heads=size.heads[0],
        image_size=[size.image_size, size.image_size],
        window_positional_embedding_background_size=list(size.background),
        blocks_per_stage=list(size.blocks),
        embed_dim_per_stage=list(size.widths),
        num_attention_heads_per_stage=list(size.heads),
        window_size_per_stage=list(size.windows),
        global_attention_blocks=list(size.global_blocks),
    )
    return Sam2VisionConfig(
        backbone_config=hiera,
        backbone_channel_list=list(reversed(size.widths)),
        backbone_feature_sizes=[[k * size.grid, k * size.grid] for k in (4, 2, 1)],
        fpn_hidden_size=size.prompt_width,
    )
