"""A convolutional stem for vision transformers that have to learn to see from little data."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8
"""Groups of the group norms."""


class ConvStem(nn.Sequential):
    """Convolutions in the place of a patch embedding: (B, 3, s, s) -> (B, width, s / patch, s / patch).

    Each of `widths` halves the picture. Shapes are seen after far fewer steps than through one large patch
    (Xiao et al. 2021, "Early Convolutions Help Transformers See Better").
    """

    def __init__(self, widths: Sequence[int], width: int, patch_size: int) -> None:
        if 2 ** len(widths) != patch_size:
            raise ValueError(
                f"{len(widths)} stem_widths halve a picture to patches of {2 ** len(widths)} pixels, "
                f"but patch_size is {patch_size}"
            )
        halving = [
            layer
            for before, after in zip([3, *widths], widths, strict=False)
            for layer in (nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(GROUPS, after), nn.GELU())
        ]
        super().__init__(*halving, ResidualConv(widths[-1]), nn.Conv2d(widths[-1], width, 1))

    @property
    def weight(self) -> Tensor:
        """What a CLIP tower asks for its dtype."""
        return self[-1].weight


class ResidualConv(nn.Module):
    """x + conv(conv(x)), the identity at the start: (B, C, h, w) -> (B, C, h, w) (He et al. 2016, pre-activation)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(GROUPS, width), nn.GroupNorm(GROUPS, width)
        self.conv_1, self.conv_2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.conv_2.weight)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv_1(F.gelu(self.norm_1(x)))
        return x + self.conv_2(F.gelu(self.norm_2(inner)))
