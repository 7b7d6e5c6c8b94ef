"""Qwen3-VL: as Qwen2.5-VL, but its tower also speaks to the language model's first layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lisa.backbones.base import Family
from lisa.backbones.qwen_vl import QwenBackbone, QwenReader


class Qwen3Backbone(QwenBackbone):
    """transformers' own `Qwen3VLForConditionalGeneration`.

    Its first layers' states have features of the tower added at image tokens (DeepStack, Meng et al. 2024): an image
    token is D channels for the bottom and D for each of those layers, side by side.
    """

    def tokens_of(self, seen) -> Tensor:
        return torch.cat([seen.pooler_output, *seen.deepstack_features], dim=-1)

    def inputs(self, embeds: Tensor) -> dict[str, Any]:
        first, *others = embeds.split(self.width, dim=-1)
        if not others:
            return {"inputs_embeds": first}
        # Nothing is added to words: their other channels are 0.
        everywhere = torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)
        return {
            "inputs_embeds": first,
            "visual_pos_masks": everywhere,
            "deepstack_visual_embeds": [other.flatten(0, 1) for other in others],
        }


FAMILY = Family(backbone=Qwen3Backbone, reader=QwenReader)
