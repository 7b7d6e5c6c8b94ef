"""A mask, corrected by clicks: points and the mask as it was go into SAM's prompt encoder, beside the [SEG] prompt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from segment_anything.modeling import PromptEncoder, Sam
from torch import Tensor

from sam_bridge.decode import dense_positions
from sam_bridge.geometry import ImageSize


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """P points on one picture."""

    points: Tensor
    """(P, 2) float: x and y in pixels of the original picture, 0 at the left and upper edge of the first pixel."""
    inside: Tensor
    """(P,) bool: whether the point belongs to the thing, or is to be left out."""


def correct_mask(
    sam: Sam, embedding: Tensor, prompt: Tensor, clicks: Clicks, before: Tensor, size: ImageSize
) -> tuple[Tensor, Tensor]:
    """The mask of one [SEG] after some clicks: low-res logits (4g, 4g) and predicted IoU ().

    embedding (1, E, g, g) of the picture of `size`; prompt (E,) of the [SEG]; before (4g, 4g): the low-res logits of
    the mask that is corrected. As SAM is used interactively (Kirillov et al. 2023): all clicks so far are given, with
    the mask that the last decoding gave. Without clicks SAM is only shown its own mask.
    """
    encoder = sam.prompt_encoder
    dtype = encoder.no_mask_embed.weight.dtype
    points = embed_points(encoder, to_square(clicks.points, size), clicks.inside)
    low_res, score = sam.mask_decoder(
        image_embeddings=embedding.to(dtype),
        image_pe=dense_positions(encoder).to(dtype),
        sparse_prompt_embeddings=torch.cat([prompt[None].to(dtype), points.to(dtype)])[None],
        dense_prompt_embeddings=encoder.mask_downscaling(before[None, None].to(dtype)),
        multimask_output=False,
    )
    return low_res[0, 0], score[0, 0]


def to_square(points: Tensor, size: ImageSize) -> Tensor:
    """Points (P, 2), x and y, of the original picture -> of the resized one in the corner of SAM's square."""
    (height, width), (resized_height, resized_width) = size.original, size.resized
    return points.float() * points.new_tensor([resized_width / width, resized_height / height], dtype=torch.float32)


def embed_points(encoder: PromptEncoder, points: Tensor, inside: Tensor) -> Tensor:
    """Sparse prompts (P + 1, E) fp32 of points (P, 2) on SAM's square; the last is the point that stands for no box.

    As `PromptEncoder._embed_points`, which takes whole pixels (it adds a half; here the place is exact), but in fp32
    whatever the weights: `forward_with_coords` cannot multiply when they are bf16 or fp16.
    """
    kinds = [encoder.point_embeddings[0].weight, encoder.point_embeddings[1].weight]  # left out, inside
    matrix = encoder.pe_layer.positional_encoding_gaussian_matrix.float()
    height, width = encoder.input_image_size
    phase = 2 * torch.pi * (2 * points / points.new_tensor([width, height]) - 1) @ matrix
    placed = torch.cat([phase.sin(), phase.cos()], dim=-1) + torch.cat(kinds).float()[inside.long()]
    return torch.cat([placed, encoder.not_a_point_embed.weight.float()])
