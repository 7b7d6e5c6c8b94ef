"""Image embeddings and prompt embeddings -> masks, over all images in one call."""

from __future__ import annotations

import torch
from segment_anything.modeling import PromptEncoder, Sam
from torch import Tensor


def decode_masks(sam: Sam, embeddings: Tensor, prompts: Tensor, image_of: Tensor) -> tuple[Tensor, Tensor]:
    """One mask for each prompt: low-res logits (S, 4g, 4g) and predicted IoU (S,); S may be 0.

    embeddings (B, E, g, g); prompts (S, E), each a sparse prompt of its own; image_of (S,) tells the image
    that each prompt is about. The mask is SAM's single-mask output (mask token 0).
    """
    # segment_anything cannot reshape zero prompts.
    if len(prompts) == 0:
        side = 4 * embeddings.shape[-1]
        return prompts.new_zeros(0, side, side), prompts.new_zeros(0)
    # MaskDecoder repeats ONE image over all prompts. The dense prompt is added to the image per prompt, so
    # the images go in there, and the image itself is zero: the same sum, for any number of images.
    no_mask = sam.prompt_encoder.no_mask_embed.weight[0]
    dense = (embeddings + no_mask[:, None, None]).index_select(0, image_of)
    low_res, scores = sam.mask_decoder(
        image_embeddings=torch.zeros_like(dense[:1]),
        image_pe=dense_positions(sam.prompt_encoder).to(dense.dtype),
        sparse_prompt_embeddings=prompts[:, None].to(dense.dtype),
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    return low_res[:, 0], scores[:, 0]


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
