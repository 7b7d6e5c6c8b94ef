"""What every kind of SAM is to the rest of the code."""

from __future__ import annotations

from abc import abstractmethod

import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn

from sam_bridge.embeddings import Embeddings
from sam_bridge.sizes import Sam2Size, SamSize


class MaskModel(nn.Module):
    """An image encoder, a mask decoder that takes prompt embeddings, and what stands between them.

    All have SAM's prompt encoder: its no-mask embedding is the dense prompt, its random frequencies are the positions.
    Call it by `sam_bridge.encode_images` and `decode_masks`, which know empty batches.
    """

    size: SamSize | Sam2Size
    image_encoder: nn.Module
    """All that lies between pixels and embeddings: what is frozen, kept on disk and hashed as one. Its `blocks` are the
    parts that repeat."""
    prompt_encoder: PromptEncoder
    mask_decoder: nn.Module

    @abstractmethod
    def encode(self, pixels: Tensor) -> Embeddings:
        """(B, 3, s, s) of the weights' type, as `prepare_pixels` makes them; B >= 1."""

    @abstractmethod
    def decode(
        self, embeddings: Embeddings, sparse: Tensor, dense: Tensor, image_of: Tensor, decoder: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `decode_masks`, for S >= 1 masks with K sparse prompts (S, K, E) each; dense is added to the embedding of
        each one's picture: (S, E, g, g), or (1, E, 1, 1) as `no_mask`. `decoder` takes the place of the own one."""

    def restore_constants(self) -> None:
        """Set constants again that no checkpoint holds, and some loaders leave undefined."""

    @property
    def no_mask(self) -> Tensor:
        """The dense prompt of masks of which nothing is known, (1, E, 1, 1)."""
        return self.prompt_encoder.no_mask_embed.weight[:, :, None, None]

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.prompt_encoder.no_mask_embed.weight.dtype


def build_prompt_encoder(size: SamSize | Sam2Size) -> PromptEncoder:
    """The same in every kind of SAM, down to the names of its weights."""
    return PromptEncoder(
        embed_dim=size.prompt_width,
        image_embedding_size=(size.grid, size.grid),
        input_image_size=(size.image_size, size.image_size),
        mask_in_chans=size.mask_width,
    )
