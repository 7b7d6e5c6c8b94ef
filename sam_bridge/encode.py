"""Pixels -> image embeddings."""

from __future__ import annotations

from segment_anything.modeling import Sam
from torch import Tensor


def encode_images(sam: Sam, pixels: Tensor) -> Tensor:
    """(B, 3, s, s) as `resize_and_pad` makes them -> image embeddings (B, E, g, g); B may be 0."""
    if len(pixels) == 0:
        grid = sam.prompt_encoder.image_embedding_size
        return pixels.new_zeros(0, sam.prompt_encoder.embed_dim, *grid)
    return sam.image_encoder(pixels.to(sam.prompt_encoder.no_mask_embed.weight.dtype))
