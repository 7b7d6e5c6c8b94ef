"""The vision-language models that LISA can stand on, each behind the same small interface."""

from __future__ import annotations

from transformers import PretrainedConfig, PreTrainedModel

from lisa.backbones.base import Backbone
from lisa.backbones.llava import LlavaBackbone, build_llava, llava_tokens_per_image

_ADAPTERS = {"llava": LlavaBackbone}
_BUILDERS = {"llava": build_llava}
_TOKENS_PER_IMAGE = {"llava": llava_tokens_per_image}


def build(vlm_config: PretrainedConfig) -> PreTrainedModel:
    """A vision-language model with random weights."""
    return _BUILDERS[_family(vlm_config)](vlm_config)


def adapt(vlm: PreTrainedModel) -> Backbone:
    """The interface for a loaded vision-language model, also when peft has put adapters into it."""
    if hasattr(vlm, "get_base_model"):
        vlm = vlm.get_base_model()
    return _ADAPTERS[_family(vlm.config)](vlm)


def tokens_per_image(vlm_config: PretrainedConfig) -> int:
    """P: how many image tokens the language model reads for one picture."""
    return _TOKENS_PER_IMAGE[_family(vlm_config)](vlm_config)


def _family(config: PretrainedConfig) -> str:
    if config.model_type not in _ADAPTERS:
        raise ValueError(
            f"no backbone for models of type {config.model_type!r}; there is one for {', '.join(_ADAPTERS)} "
            "(a new family is one file in lisa/backbones and one line in its __init__)"
        )
    return config.model_type


__all__ = ["Backbone", "adapt", "build", "tokens_per_image"]
