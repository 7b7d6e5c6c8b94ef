"""Devices for models that start from nothing: a convolutional stem, and a projector that merges patches.

Settings of a model's config ask for them: `stem_widths`, `merge_patches`.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from transformers import PretrainedConfig

from sam_bridge.stem import ConvStem


class TokenRMSNorm(nn.RMSNorm):
    """Of image tokens (..., D), in their own precision."""

    def forward(self, tokens: Tensor) -> Tensor:
        # Under autocast tokens are bf16 and weights fp32, which torch cannot fuse, and warns about.
        return super().forward(tokens.to(self.weight.dtype)).to(tokens.dtype)


class MergingProjector(nn.Module):
    """Squares of m x m neighbouring patches become one image token, by LLaVA's MLP: (B, P m m, C) -> (B, P, D).

    Small patches see shapes, few tokens spare the language model (pixel shuffle, as in InternVL, Chen et al. 2024).
    The norm gives image tokens a size of their own.
    """

    def __init__(self, config: PretrainedConfig, merge: int) -> None:
        super().__init__()
        self.merge = merge
        width = config.text_config.hidden_size
        self.linear_1 = nn.Linear(config.vision_config.hidden_size * merge**2, width)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(width, width)
        self.norm = TokenRMSNorm(width)

    def forward(self, patches: Tensor) -> Tensor:
        batch, count, channels = patches.shape
        side = math.isqrt(count) // self.merge
        squares = patches.view(batch, side, self.merge, side, self.merge, channels).transpose(2, 3)
        return self.norm(self.linear_2(self.act(self.linear_1(squares.reshape(batch, side * side, -1)))))


def merging_projector(config: PretrainedConfig) -> MergingProjector | None:
    """The projector that the config asks for, None where it asks for none."""
    merge = getattr(config, "merge_patches", 1)
    return MergingProjector(config, merge) if merge > 1 else None


def give_stem(embeddings: nn.Module, config: PretrainedConfig) -> None:
    """Put the stem that the config asks for into the place of a tower's patch embedding."""
    if widths := getattr(config, "stem_widths", ()):
        vision = config.vision_config
        embeddings.patch_embedding = ConvStem(widths, vision.hidden_size, vision.patch_size)
