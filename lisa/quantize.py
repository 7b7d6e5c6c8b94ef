"""The language model in 8 or 4 bits, by bitsandbytes; the rest, SAM above all, keeps its precision."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import BitsAndBytesConfig

from lisa.modeling import LisaModel
from lisa.released import holds_released

if TYPE_CHECKING:
    from lisa.checkpoint import Quantization

FULL_PRECISION = ["sam", "text_hidden_fcs", "vision_tower", "multi_modal_projector", "lm_head"]
"""Modules that keep their precision: masks and words hang on them, and they are small beside the language model."""


def load_quantized(folder: Path, quantize: Quantization, device: str, dtype: torch.dtype) -> LisaModel:
    """The model in a folder that `lisa.checkpoint.save` wrote, its language model quantised."""
    if quantize not in ("8bit", "4bit"):
        raise ValueError(f"quantize is None, '8bit' or '4bit', not {quantize!r}")
    if find_spec("bitsandbytes") is None:
        raise ImportError("quantize needs the package bitsandbytes: pip install 'lisa-segmentation[quant]'")
    if holds_released(folder):
        raise ValueError(f"{folder} is a released LISA; `lisa convert {folder} FOLDER` first, then quantise FOLDER")
    bits = {"load_in_8bit": True} if quantize == "8bit" else {"load_in_4bit": True, "bnb_4bit_compute_dtype": dtype}
    # The names are of parts, and transformers matches whole paths below the model.
    config = BitsAndBytesConfig(llm_int8_skip_modules=FULL_PRECISION, bnb_4bit_quant_type="nf4", **bits)
    return LisaModel.from_pretrained(folder, quantization_config=config, dtype=dtype, device_map={"": device})
