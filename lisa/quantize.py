"""The language model in 8 or 4 bits, by bitsandbytes; the rest, SAM above all, keeps its precision."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from lisa.config import LisaConfig
from lisa.extras import require
from lisa.modeling import LisaModel
from lisa.released import holds_released
from lisa.released.checkpoint import skeleton

Quantization = Literal["8bit", "4bit"]


def load_quantized(folder: Path, quantize: Quantization, device: str, dtype: torch.dtype) -> LisaModel:
    """The model in a folder that `lisa.checkpoint.save` wrote, its language model quantised."""
    if quantize not in ("8bit", "4bit"):
        raise ValueError(f"quantize is None, '8bit' or '4bit', not {quantize!r}")
    require("bitsandbytes", "quantize", "lisa-segmentation[quant]")
    if holds_released(folder):
        raise ValueError(f"{folder} is a released LISA; `lisa convert {folder} FOLDER` first, then quantise FOLDER")
    lisa = skeleton(LisaConfig.from_pretrained(folder))
    small = language_matrices(lisa)
    kept = [name for name, module in lisa.named_modules() if isinstance(module, nn.Linear) and name not in small]
    bits = {"load_in_8bit": True} if quantize == "8bit" else {"load_in_4bit": True, "bnb_4bit_compute_dtype": dtype}
    config = BitsAndBytesConfig(llm_int8_skip_modules=kept, bnb_4bit_quant_type="nf4", **bits)
    return LisaModel.from_pretrained(folder, quantization_config=config, dtype=dtype, device_map={"": device})


def language_matrices(lisa: LisaModel) -> dict[str, nn.Linear]:
    """What is quantised, by name: the language model's matrices, without those that read and write words."""
    inside = set(lisa.backbone.parts()["language_model"].modules()) - {lisa.vlm.get_output_embeddings()}
    return {name: module for name, module in lisa.named_modules() if isinstance(module, nn.Linear) and module in inside}
