"""LLaVA-type models: a CLIP or SigLIP tower, a projector, a decoder-only language model (Liu et al. 2023)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import Cache, LlavaConfig, LlavaForConditionalGeneration

from lisa.attention import Layout, knows_layouts
from lisa.profiling import backward_is, timed
from sam_bridge.stem import ConvStem

IMAGE_TOKEN_SCALE = 0.1
"""Size of an image token's channels at the start, about that of a word's."""


def build_llava(config: LlavaConfig) -> LlavaForConditionalGeneration:
    """The model with random weights.

    Three settings of `config` are ours: `stem_widths` asks for a convolutional stem, `merge_patches` for a merging
    projector, `projector_layers` 1 for LLaVA's first projector; without them the model is transformers' own.
    """
    vlm = LlavaForConditionalGeneration(config)
    if stem_widths := getattr(config, "stem_widths", ()):
        vision = config.vision_config
        vlm.model.vision_tower.embeddings.patch_embedding = ConvStem(stem_widths, vision.hidden_size, vision.patch_size)
    if _merge(config) > 1:
        vlm.model.multi_modal_projector = MergingProjector(config, _merge(config))
    elif getattr(config, "projector_layers", 2) == 1:
        vlm.model.multi_modal_projector = LinearProjector(config)
    return vlm


class LinearProjector(nn.Module):
    """One linear layer, as in the first LLaVA: (B, P, C) -> (B, P, D) (Liu et al. 2023)."""

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(config.vision_config.hidden_size, config.text_config.hidden_size)

    def forward(self, patches: Tensor) -> Tensor:
        return self.linear_1(patches)


class MergingProjector(nn.Module):
    """Squares of m x m neighbouring patches become one image token, by LLaVA's MLP: (B, P m m, C) -> (B, P, D).

    Small patches see shapes, few tokens spare the language model (pixel shuffle, as in InternVL, Chen et al. 2024).
    The norm gives image tokens the size of words, so that the language model can add to what they say.
    """

    def __init__(self, config: LlavaConfig, merge: int) -> None:
        super().__init__()
        self.merge = merge
        width = config.text_config.hidden_size
        self.linear_1 = nn.Linear(config.vision_config.hidden_size * merge**2, width)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(width, width)
        self.norm = nn.RMSNorm(width)
        nn.init.constant_(self.norm.weight, IMAGE_TOKEN_SCALE)

    def forward(self, patches: Tensor) -> Tensor:
        batch, count, channels = patches.shape
        side = math.isqrt(count) // self.merge
        squares = patches.view(batch, side, self.merge, side, self.merge, channels).transpose(2, 3)
        tokens = self.linear_2(self.act(self.linear_1(squares.reshape(batch, side * side, -1))))
        # Under autocast tokens are bf16 and weights fp32, which torch cannot fuse, and warns about.
        return self.norm(tokens.to(self.norm.weight.dtype)).to(tokens.dtype)


def _merge(config: LlavaConfig) -> int:
    return getattr(config, "merge_patches", 1)


def llava_tokens_per_image(config: LlavaConfig) -> int:
    """Patches of the square picture, merged; one more when CLIP's class token is kept."""
    vision = config.vision_config
    patches = (vision.image_size // vision.patch_size // _merge(config)) ** 2
    has_class_token = vision.model_type == "clip_vision_model"
    return patches + int(has_class_token and config.vision_feature_select_strategy == "full")


def _tower_states(tower: nn.Module, pixels: Tensor, chosen: Sequence[int]) -> list[Tensor]:
    """The states (B, P, C) after the chosen layers of a CLIP or SigLIP tower; 0 is before the first, -1 after the last.

    No layer above the highest chosen one is computed.
    """
    layers = tower.encoder.layers
    counts = [range(len(layers) + 1)[count] for count in chosen]
    states: list[Tensor] = []
    kept = nn.ModuleList([_Keep(layer, states) for layer in layers[: max(counts)]])
    # A copy with the same weights and hooks: the tower itself stays whole, whoever else uses it meanwhile.
    cut, encoder = _shallow_copy(tower), _shallow_copy(tower.encoder)
    cut.encoder, encoder.layers, cut.post_layernorm = encoder, kept, nn.Identity()
    cut.use_head = False  # SigLIP's, which pools the states
    learns = any(parameter.requires_grad for parameter in tower.parameters())
    # Where activations are recomputed, transformers makes the patches require a gradient, frozen or not.
    with torch.set_grad_enabled(torch.is_grad_enabled() and learns):
        states.append(cut(pixels).last_hidden_state)
    return [states[count] for count in counts]


class _Keep(nn.Module):
    """A layer whose input is put into a list."""

    def __init__(self, layer: nn.Module, states: list[Tensor]) -> None:
        super().__init__()
        self.layer, self.states = layer, states

    def forward(self, state: Tensor, *args, **kwargs) -> Tensor:
        self.states.append(state)
        return self.layer(state, *args, **kwargs)


def _shallow_copy(module: nn.Module) -> nn.Module:
    """A module of its own with the same parts."""
    other = copy.copy(module)
    other._modules = dict(module._modules)
    return other


class LlavaBackbone:
    """`Backbone` on transformers' own `LlavaForConditionalGeneration`."""

    def __init__(self, vlm: LlavaForConditionalGeneration) -> None:
        self.vlm = vlm
        self.width = vlm.config.text_config.hidden_size

    @timed("vision tower")
    def image_tokens(self, pixel_values: Tensor) -> Tensor:
        model, config = self.vlm.model, self.vlm.config
        pixels = pixel_values.to(model.multi_modal_projector.linear_1.weight.dtype)
        chosen = config.vision_feature_layer
        states = _tower_states(model.vision_tower, pixels, [chosen] if isinstance(chosen, int) else chosen)
        # "default" leaves out the class token, which stands first.
        first = int(config.vision_feature_select_strategy == "default")
        tokens = model.multi_modal_projector(torch.cat([state[:, first:] for state in states], dim=-1))
        return backward_is("vision tower, backward", tokens)

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

    def run_line(self, embeds: Tensor, positions: Tensor, layout: Layout) -> Tensor:
        language_model = self.vlm.model.language_model
        config = language_model.config
        # For good: a layer that is computed again in the backward pass must find the same attention.
        config._attn_implementation = knows_layouts(config._attn_implementation)
        outputs = language_model(inputs_embeds=embeds, position_ids=positions, use_cache=False, layout=layout)
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
