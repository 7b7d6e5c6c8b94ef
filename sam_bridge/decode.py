"""Image embeddings and prompt embeddings -> masks, over all images in one call."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor

from sam_bridge.embeddings import Embeddings

if TYPE_CHECKING:
    from sam_bridge.base import MaskModel


CALL_BYTES = 2**31
"""About what one call of a mask decoder may take: an untrained model can say a hundred [SEG] in every answer."""
DECODER_COPIES = 16
"""About how many tensors of the size of its picture's embedding the decoder holds at once for a mask."""


def decode_masks(sam: MaskModel, embeddings: Embeddings, prompts: Tensor, image_of: Tensor) -> tuple[Tensor, Tensor]:
    """One mask for each prompt: low-res logits (S, 4g, 4g) and predicted IoU (S,); S may be 0.

    embeddings of B images; prompts (S, E), each a sparse prompt of its own; image_of (S,) tells the image that each
    prompt is about. The mask is the single-mask output (mask token 0). All masks are decoded in one call, unless that
    would take more than about `CALL_BYTES`.
    """
    # No decoder can reshape zero prompts.
    if len(prompts) == 0:
        side = sam.size.low_res
        return prompts.new_zeros(0, side, side), prompts.new_zeros(0)
    at_once = _masks_at_once(sam)
    parts = zip(prompts.split(at_once), image_of.split(at_once), strict=True)
    low_res, scores = zip(*(sam.decode(embeddings, own[:, None], sam.no_mask, of) for own, of in parts), strict=True)
    return torch.cat(low_res), torch.cat(scores)


def _masks_at_once(sam: MaskModel) -> int:
    """Number of masks that one call of the decoder has room for, at least 1."""
    embedding = sum(math.prod(shape) for shape in sam.size.embedding_shapes) * sam.no_mask.element_size()
    return max(1, CALL_BYTES // (DECODER_COPIES * embedding))


def dense_positions(prompt_encoder: PromptEncoder) -> Tensor:
    """Positional encoding of the image embedding, (1, E, g, g) fp32.

    `PromptEncoder.get_dense_pe` fails when the weights are bf16 or fp16; the random frequencies are read in
    fp32 here, so that positions are as exact as the stored weights allow.
    """
    height, width = prompt_encoder.image_embedding_size
    matrix = prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.float()  # (2, E / 2)
    rows = (torch.arange(height, device=matrix.device) + 0.5) / height
    columns = (torch.arange(width, device=matrix.device) + 0.5) / width
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    phase = 2 * torch.pi * (2 * torch.stack([x, y], dim=-1) - 1) @ matrix
    return torch.cat([phase.sin(), phase.cos()], dim=-1).permute(2, 0, 1)[None]
