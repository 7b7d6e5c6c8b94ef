"""Pixels -> image embeddings."""

from __future__ import annotations

from torch import Tensor

from sam_bridge.base import MaskModel
from sam_bridge.embeddings import Embeddings


def encode_images(sam: MaskModel, pixels: Tensor) -> Embeddings:
    """The embeddings of pictures (B, 3, s, s) as `prepare_pixels` makes them; B may be 0."""
    if len(pixels) == 0:
        image, *fine = (pixels.new_zeros(0, *shape, dtype=sam.dtype) for shape in sam.size.embedding_shapes)
        return Embeddings(image, tuple(fine))
    return sam.encode(pixels.to(sam.dtype))
