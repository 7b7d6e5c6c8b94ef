"""SAM-HQ (Ke et al. 2023): SAM, and a high-quality token with features of its own, out of `segment_anything`'s parts.

The encoder is SAM's, weights and all; what it gives after its first block of global attention goes to the decoder too.
transformers has a SAM-HQ as well, but its decoder (5.23) drops what its transformer has made of the image embedding and
takes rows for columns: its masks are not the authors'.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn

from sam_bridge.base import MaskModel, build_prompt_encoder
from sam_bridge.decode import dense_positions
from sam_bridge.embeddings import Embeddings
from sam_bridge.sam1 import build_decoder, build_vit
from sam_bridge.sizes import SamHqSize


class SamHq(MaskModel):
    """With random weights; `Embeddings.fine` is the encoder's early state (B, C, g, g).

    The mask is the sum of SAM's (mask token 0) and that of the high-quality token, as SAM-HQ's predictor has it, or the
    latter alone (`SamHqSize.hq_token_only`); the predicted IoU is mask token 0's.
    """

    def __init__(self, size: SamHqSize) -> None:
        super().__init__()
        self.size = size
        self.image_encoder = build_vit(size, EarlyImageEncoder)
        self.prompt_encoder = build_prompt_encoder(size)
        self.mask_decoder = build_decoder(size, HqMaskDecoder)
        self.mask_decoder.add_high_quality(size.width)

    def encode(self, pixels: Tensor) -> Embeddings:
        image, early = self.image_encoder(pixels)
        return Embeddings(image, (early,))

    def decode(
        self, embeddings: Embeddings, sparse: Tensor, dense: Tensor, image_of: Tensor, decoder: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        (early,) = embeddings.fine
        decoder = decoder or self.mask_decoder
        sam_mask, hq_mask, scores = decoder(
            image=embeddings.image.index_select(0, image_of) + dense,
            positions=dense_positions(self.prompt_encoder).to(early.dtype),
            prompts=sparse.to(early.dtype),
            details=decoder.details(embeddings.image, early).index_select(0, image_of),
        )
        return hq_mask if self.size.hq_token_only else sam_mask + hq_mask, scores


class EarlyImageEncoder(ImageEncoderViT):
    """SAM's image encoder, which tells its state after the first block of global attention too."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, s, s) -> embedding (B, E, g, g) and early state (B, C, g, g)."""
        x = self.patch_embed(x) + self.pos_embed
        states = []
        for block in self.blocks:
            x = block(x)
            states.append(x)
        first_global = next(k for k, block in enumerate(self.blocks) if block.window_size == 0)
        return self.neck(x.permute(0, 3, 1, 2)), states[first_global].permute(0, 3, 1, 2)


class HqMaskDecoder(MaskDecoder):
    """SAM's mask decoder with one more token, whose mask is read from finer features; names are the authors'."""

    def add_high_quality(self, vit_width: int) -> None:
        """What SAM-HQ adds; `vit_width` are the channels of the early state."""
        width = self.transformer_dim
        self.hf_token = nn.Embedding(1, width)
        self.hf_mlp = MLP(width, width, width // 8, 3)
        self.compress_vit_feat = _in_two_steps(nn.ConvTranspose2d, vit_width, width, width // 8)
        self.embedding_encoder = _in_two_steps(nn.ConvTranspose2d, width, width // 4, width // 8)
        self.embedding_maskfeature = _in_two_steps(nn.Conv2d, width // 8, width // 4, width // 8)

    def details(self, image: Tensor, early: Tensor) -> Tensor:
        """What the high-quality token sees of B pictures beside their prompts: (B, E / 8, 4g, 4g)."""
        return self.embedding_encoder(image) + self.compress_vit_feat(early)

    def forward(
        self, image: Tensor, positions: Tensor, prompts: Tensor, details: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """SAM's masks (S, 4g, 4g), the high-quality token's, and predicted IoU (S,).

        image (S, E, g, g) with the dense prompt in it, prompts (S, 1, E), details (S, E / 8, 4g, 4g).
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight, self.hf_token.weight])
        tokens = torch.cat([own.expand(len(prompts), -1, -1), prompts], dim=1)
        tokens, seen = self.transformer(image, positions.expand(len(prompts), -1, -1, -1), tokens)
        upscaled = self.output_upscaling(seen.transpose(1, 2).view_as(image))
        fine = self.embedding_maskfeature(upscaled) + details
        sam_mask = torch.einsum("sc,scyx->syx", self.output_hypernetworks_mlps[0](tokens[:, 1]), upscaled)
        hq_mask = torch.einsum("sc,scyx->syx", self.hf_mlp(tokens[:, 1 + self.num_mask_tokens]), fine)
        return sam_mask, hq_mask, self.iou_prediction_head(tokens[:, 0])[:, 0]


def _in_two_steps(kind: type[nn.Module], width: int, middle: int, out: int) -> nn.Sequential:
    """Two convolutions, each of which doubles the resolution or keeps it."""
    options = {"kernel_size": 2, "stride": 2} if kind is nn.ConvTranspose2d else {"kernel_size": 3, "padding": 1}
    return nn.Sequential(kind(width, middle, **options), LayerNorm2d(middle), nn.GELU(), kind(middle, out, **options))
