"""LLaVA-type models: a CLIP or SigLIP tower, a projector, a decoder-only language model (Liu et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Cache, CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

STEM_GROUPS = 8
"""Groups of the stem's group norms."""


def build_llava(config: LlavaConfig) -> LlavaForConditionalGeneration:
    """The model with random weights.

    Two settings of `config` are ours: `stem_widths` asks for a convolutional stem, `merge_patches` for a merging
    projector; without them the model is transformers' own.
    """
    vlm = LlavaForConditionalGeneration(config)
    if stem_widths := getattr(config, "stem_widths", ()):
        vlm.model.vision_tower.embeddings.patch_embedding = ConvStem(stem_widths, config.vision_config)
    if _merge(config) > 1:
        vlm.model.multi_modal_projector = MergingProjector(config, _merge(config))
    return vlm


class ConvStem(nn.Sequential):
    """Convolutions in the place of the tower's patch embedding: (B, 3, s, s) -> (B, C, s / patch, s / patch).

    Each width halves the picture. Shapes are seen after far fewer steps than through one large patch
    (Xiao et al. 2021, "Early Convolutions Help Transformers See Better").
    """

    def __init__(self, widths: Sequence[int], vision: CLIPVisionConfig) -> None:
        if 2 ** len(widths) != vision.patch_size:
            raise ValueError(
                f"{len(widths)} stem_widths halve a picture to patches of {2 ** len(widths)} pixels, "
                f"but patch_size is {vision.patch_size}"
            )
        halving = [
            layer
            for before, width in zip([vision.num_channels, *widths], widths, strict=False)
            for layer in (nn.Conv2d(before, width, 3, stride=2, padding=1), nn.GroupNorm(STEM_GROUPS, width), nn.GELU())
        ]
        super().__init__(*halving, ResidualConv(widths[-1]), nn.Conv2d(widths[-1], vision.hidden_size, 1))

    @property
    def weight(self) -> Tensor:
        """What the tower asks for its dtype."""
        return self[-1].weight


class ResidualConv(nn.Module):
    """x + conv(conv(x)), the identity at the start: (B, C, h, w) -> (B, C, h, w) (He et al. 2016, pre-activation)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(STEM_GROUPS, width), nn.GroupNorm(STEM_GROUPS, width)
        self.conv_1, self.conv_2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.conv_2.weight)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv_1(F.gelu(self.norm_1(x)))
        return x + self.conv_2(F.gelu(self.norm_2(inner)))


class MergingProjector(nn.Module):
    """Squares of m x m neighbouring patches become one image token, then LLaVA's MLP: (B, P m m, C) -> (B, P, D).

    Small patches see shapes, few tokens spare the language model (pixel shuffle, as in InternVL, Chen et al. 2024).
    """

    def __init__(self, config: LlavaConfig, merge: int) -> None:
        super().__init__()
        self.merge = merge
        width = config.text_config.hidden_size
        self.linear_1 = nn.Linear(config.vision_config.hidden_size * merge**2, width)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(width, width)

    def forward(self, patches: Tensor) -> Tensor:
        batch, count, channels = patches.shape
        side = math.isqrt(count) // self.merge
        squares = patches.view(batch, side, self.merge, side, self.merge, channels).transpose(2, 3)
        return self.linear_2(self.act(self.linear_1(squares.reshape(batch, side * side, -1))))


def _merge(config: LlavaConfig) -> int:
    return getattr(config, "merge_patches", 1)


def llava_tokens_per_image(config: LlavaConfig) -> int:
    """Patches of the square picture, merged; one more when CLIP's class token is kept."""
    vision = config.vision_config
    patches = (vision.image_size // vision.patch_size // _merge(config)) ** 2
    has_class_token = vision.model_type == "clip_vision_model"
    return patches + int(has_class_token and config.vision_feature_select_strategy == "full")


class LlavaBackbone:
    """`Backbone` on transformers' own `LlavaForConditionalGeneration`."""

    def __init__(self, vlm: LlavaForConditionalGeneration) -> None:
        self.vlm = vlm
        self.width = vlm.config.text_config.hidden_size

    def image_tokens(self, pixel_values: Tensor) -> Tensor:
        model = self.vlm.model
        dtype = model.multi_modal_projector.linear_1.weight.dtype
        outputs = model.get_image_features(
            pixel_values=pixel_values.to(dtype),
            vision_feature_layer=self.vlm.config.vision_feature_layer,
            vision_feature_select_strategy=self.vlm.config.vision_feature_select_strategy,
            return_dict=True,
        )
        return torch.stack(list(outputs.pooler_output))

    def embed(self, ids: Tensor) -> Tensor:
        return self.vlm.get_input_embeddings()(ids)

    def run(self, embeds: Tensor, bias: Tensor, positions: Tensor, cache: Cache | None = None) -> Tensor:
        outputs = self.vlm.model.language_model(
            inputs_embeds=embeds,
            attention_mask=bias,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return outputs.last_hidden_state

    def final_norm(self, states: Tensor) -> Tensor:
        return self.vlm.model.language_model.norm(states)

    def logits(self, states: Tensor) -> Tensor:
        return self.vlm.lm_head(states)

    def parts(self) -> dict[str, nn.Module]:
        model = self.vlm.model
        return {
            "vision_tower": model.vision_tower,
            "projector": model.multi_modal_projector,
            "language_model": model.language_model,
            "embeddings": nn.ModuleList([self.vlm.get_input_embeddings(), self.vlm.lm_head]),
        }
