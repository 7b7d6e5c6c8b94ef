"""The vision-language models that LISA can stand on, each behind the same small interface."""

from __future__ import annotations

import importlib

from transformers import BaseImageProcessor, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from lisa.backbones.base import Backbone, Family, PictureReader

FAMILIES = {
    "llava": "lisa.backbones.llava",
    "paligemma": "lisa.backbones.paligemma",
    "smolvlm": "lisa.backbones.idefics",
    "idefics3": "lisa.backbones.idefics",
    "qwen2_5_vl": "lisa.backbones.qwen_vl",
    "qwen3_vl": "lisa.backbones.qwen3_vl",
    "internvl": "lisa.backbones.internvl",
    "llava_onevision": "lisa.backbones.llava_tiles",
    "llava_next": "lisa.backbones.llava_tiles",
}
"""Which file knows the models of a type; it is imported where such a model is used."""


def build(vlm_config: PretrainedConfig) -> PreTrainedModel:
    """A vision-language model with random weights."""
    return family_of(vlm_config).build(vlm_config)


def adapt(vlm: PreTrainedModel) -> Backbone:
    """The interface for a loaded vision-language model, also when peft has put adapters into it."""
    if hasattr(vlm, "get_base_model"):
        vlm = vlm.get_base_model()
    return family_of(vlm.config).backbone(vlm)


def picture_reader(
    vlm_config: PretrainedConfig, image_processor: BaseImageProcessor, tokenizer: PreTrainedTokenizerBase
) -> PictureReader:
    """The way in for pictures of a vision-language model."""
    return family_of(vlm_config).reader(vlm_config, image_processor, tokenizer)


def family_of(config: PretrainedConfig) -> Family:
    """The family of a model's config; ValueError where there is none."""
    if config.model_type not in FAMILIES:
        raise ValueError(
            f"no backbone for models of type {config.model_type!r}; there is one for {', '.join(FAMILIES)} "
            "(docs/add-a-backbone.md: a new family is one file in lisa/backbones and one line in its __init__)"
        )
    return importlib.import_module(FAMILIES[config.model_type]).FAMILY


__all__ = ["Backbone", "Family", "PictureReader", "adapt", "build", "family_of", "picture_reader"]
