"""A vision-language model in transformers' own format, loaded and checked: what training starts from."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BaseImageProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lisa.foreign_errors import refused
from sam_bridge import check_finite


def load_vlm(version: str | Path, attention: str) -> PreTrainedModel:
    """The model in fp32; ValueError names weights that are missing, of another shape or not finite."""
    with refused(f"the vision-language model {version} cannot be loaded", "copy its whole folder again"):
        vlm, report = AutoModelForImageTextToText.from_pretrained(
            version, dtype=torch.float32, attn_implementation=attention, output_loading_info=True
        )
        wrong = {name: sorted(map(str, keys)) for name, keys in report.items() if keys and name != "unexpected_keys"}
        if wrong:
            raise ValueError(
                "; ".join(f"{name.replace('_', ' ')}: {', '.join(keys[:20])}" for name, keys in wrong.items())
            )
    check_finite(version, vlm.state_dict())
    return vlm


def load_tokenizer(version: str | Path) -> PreTrainedTokenizerBase:
    """Its tokenizer; ValueError names the folder when it cannot be used."""
    with refused(f"the tokenizer of {version} cannot be used", "copy its whole folder again"):
        return AutoTokenizer.from_pretrained(version)


def load_image_processor(version: str | Path) -> BaseImageProcessor:
    """Its image processor; ValueError names the folder when it cannot be used."""
    with refused(f"the image processor of {version} cannot be used", "copy its whole folder again"):
        return AutoImageProcessor.from_pretrained(version)
