"""Masks, corrected by clicks: points and the mask as it was go into SAM's prompt encoder, beside the [SEG] prompt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn

from sam_bridge.base import MaskModel
from sam_bridge.embeddings import Embeddings
from sam_bridge.geometry import ImageSize


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """P points on each of S masks."""

    points: Tensor
    """(S, P, 2) float: x and y in pixels of SAM's square, 0 at the left and upper edge of the first pixel."""
    inside: Tensor
    """(S, P) bool: whether the point belongs to the thing, or is to be left out."""

    def first(self, number: int) -> Clicks:
        """The same without those that came later."""
        return Clicks(points=self.points[:, :number], inside=self.inside[:, :number])


def correct_masks(
    sam: MaskModel,
    embeddings: Embeddings,
    prompts: Tensor,
    clicks: Clicks,
    before: Tensor,
    decoder: nn.Module | None = None,
) -> tuple[Tensor, Tensor]:
    """The masks of S [SEG] after some clicks: low-res logits (S, 4g, 4g) and predicted IoU (S,).

    embeddings of each one's picture; prompts (S, E) of the [SEG]; before (S, 4g, 4g): the low-res logits of the masks
    that are corrected. As SAM is used interactively (Kirillov et al. 2023): all clicks so far are given, with the mask
    that the last decoding gave. decoder: one that knows clicks, where SAM's own has only seen [SEG].
    """
    encoder, dtype = sam.prompt_encoder, sam.dtype
    sparse = torch.cat([prompts[:, None], embed_points(encoder, clicks)], dim=1).to(dtype)
    dense = encoder.mask_downscaling(before[:, None].to(dtype))
    every = torch.arange(len(prompts), device=prompts.device)
    return sam.decode(embeddings, sparse, dense, every, decoder)


def to_square(points: Tensor, size: ImageSize) -> Tensor:
    """Points (..., 2), x and y, of the original picture -> of the resized one in the corner of SAM's square."""
    (height, width), (resized_height, resized_width) = size.original, size.resized
    return points.float() * points.new_tensor([resized_width / width, resized_height / height], dtype=torch.float32)


def embed_points(encoder: PromptEncoder, clicks: Clicks) -> Tensor:
    """Sparse prompts (S, P + 1, E) fp32; the last of each is SAM's point that stands for no box.

    As `PromptEncoder._embed_points`, which takes whole pixels (it adds a half; here the place is exact), but in fp32
    whatever the weights: `forward_with_coords` cannot multiply when they are bf16 or fp16.
    """
    kinds = torch.cat([encoder.point_embeddings[0].weight, encoder.point_embeddings[1].weight])  # left out, inside
    matrix = encoder.pe_layer.positional_encoding_gaussian_matrix.float()
    height, width = encoder.input_image_size
    phase = 2 * torch.pi * (2 * clicks.points / clicks.points.new_tensor([width, height]) - 1) @ matrix
    placed = torch.cat([phase.sin(), phase.cos()], dim=-1) + kinds.float()[clicks.inside.long()]
    end = encoder.not_a_point_embed.weight.float().expand(len(placed), 1, -1)
    return torch.cat([placed, end], dim=1)
