"""LLaVA-type models: a CLIP or SigLIP tower, a projector, a decoder-only language model (Liu et al. 2023)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BaseImageProcessor, LlavaConfig, LlavaForConditionalGeneration

from lisa.backbones.base import Backbone, Family, PictureReader, gradients_if_learning
from lisa.backbones.merging import give_stem, merging_projector
from lisa.pictures import WHOLE, Box, PictureText, Shape, grid_view


def build_llava(config: LlavaConfig) -> LlavaForConditionalGeneration:
    """The model with random weights.

    Three settings of `config` are ours: `stem_widths` asks for a convolutional stem, `merge_patches` for a merging
    projector, `projector_layers` 1 for LLaVA's first projector; without them the model is transformers' own.
    """
    vlm = LlavaForConditionalGeneration(config)
    give_stem(vlm.model.vision_tower.embeddings, config)
    if projector := merging_projector(config):
        vlm.model.multi_modal_projector = projector
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


def llava_tokens_per_image(config: LlavaConfig) -> int:
    """Patches of the square picture, merged; one more when CLIP's class token is kept."""
    vision = config.vision_config
    patches = (vision.image_size // vision.patch_size // getattr(config, "merge_patches", 1)) ** 2
    has_class_token = vision.model_type == "clip_vision_model"
    return patches + int(has_class_token and config.vision_feature_select_strategy == "full")


def tower_states(tower: nn.Module, pixels: Tensor, chosen: Sequence[int]) -> list[Tensor]:
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
    with gradients_if_learning(tower):
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


class LlavaReader(PictureReader):
    """The picture is squashed or cropped to the tower's square."""

    marks_pictures = False

    @property
    def tokens_per_image(self) -> int:
        return llava_tokens_per_image(self.config)

    def text(self, shape: Shape) -> PictureText:
        count, filler = self.tokens_per_image, self.tokenizer.pad_token_id
        side = math.isqrt(count)
        # The class token, where it is kept, stands first and shows nothing.
        view = grid_view(count - side**2, side, side, seen_box(self.image_processor, shape))
        return PictureText.of([filler] * count, filler, filler, [view])

    def pixels(self, images: Sequence[np.ndarray]) -> tuple[Tensor, tuple[Shape, ...]]:
        return self.process(images)["pixel_values"], tuple(image.shape[:2] for image in images)


def seen_box(image_processor: BaseImageProcessor, shape: Shape) -> Box:
    """The part that is left of a picture of so many rows and columns when its shortest edge is made to fit and its
    middle cut out; all of it when it is resized to a fixed size."""
    if "shortest_edge" not in image_processor.size or not image_processor.do_center_crop:
        return WHOLE
    scale = image_processor.size["shortest_edge"] / min(shape)
    crop = image_processor.crop_size
    margins = [(1 - crop[name] / (length * scale)) / 2 for name, length in zip(("height", "width"), shape, strict=True)]
    top, left = margins
    return (left, top, 1 - left, 1 - top)


class LlavaBackbone(Backbone):
    """transformers' own `LlavaForConditionalGeneration`."""

    vlm: LlavaForConditionalGeneration

    def features(self, pixel_values: Tensor, shapes: Sequence[Shape]) -> Tensor:
        model, config = self.vlm.model, self.vlm.config
        chosen = config.vision_feature_layer
        states = tower_states(model.vision_tower, pixel_values, [chosen] if isinstance(chosen, int) else chosen)
        # "default" leaves out the class token, which stands first.
        first = int(config.vision_feature_select_strategy == "default")
        return model.multi_modal_projector(torch.cat([state[:, first:] for state in states], dim=-1))


FAMILY = Family(backbone=LlavaBackbone, reader=LlavaReader, build=build_llava)
