"""Save and load: one folder with config, weights (safetensors), tokenizer and image processor."""

from __future__ import annotations

from pathlib import Path

import torch

from lisa.config import LisaConfig
from lisa.generation import Predictor
from lisa.modeling import Lisa
from lisa.processing import LisaProcessor

KEPT_MODELS = Path(__file__).resolve().parents[1] / "models"
"""Trained models that come with the checkout."""


def load(model: str | Path, device: str = "auto", dtype: str = "auto") -> Predictor:
    """A trained model, ready to answer.

    model: a folder that `save` wrote, or the name of a model that comes with the checkout ("tiny").
    device: "auto" takes cuda, then mps, then cpu. dtype: "auto" is fp32 on a CPU and bf16 elsewhere.
    """
    folder = find_model(model)
    device = _pick_device(device)
    wanted = torch.float32 if device == "cpu" else torch.bfloat16
    if dtype != "auto":
        wanted = _dtype(dtype)
    lisa = Lisa.from_pretrained(folder, dtype=wanted).to(device)
    return Predictor(lisa, LisaProcessor.from_pretrained(folder), name=str(model))


def save(model: Lisa, processor: LisaProcessor, folder: str | Path, dtype: str = "fp32") -> None:
    """Everything that `load` needs, in one folder; tensors as safetensors in the given dtype."""
    weights = {name: tensor.to(_dtype(dtype)) for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=weights)
    processor.save_pretrained(folder)


def find_model(model: str | Path) -> Path:
    """The folder of a model, checked; ValueError or FileNotFoundError tell what is missing."""
    folder = Path(model)
    if not folder.is_dir() and (KEPT_MODELS / str(model)).is_dir():
        folder = KEPT_MODELS / str(model)
    if not folder.is_dir():
        raise FileNotFoundError(f"no model folder at {model}; train one with train_ds.py, or use one that is kept: tiny")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no config.json; a LISA model folder is what train_ds.py writes to model/")
    config = LisaConfig.get_config_dict(folder)[0]
    if config.get("model_type") != LisaConfig.model_type:
        raise ValueError(f"{folder} is a {config.get('model_type')!r} model, not a LISA model")
    return folder


def _dtype(name: str) -> torch.dtype:
    names = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if name not in names:
        raise ValueError(f"dtype {name!r} is none of auto, {', '.join(names)}")
    return names[name]


def _pick_device(device: str) -> str:
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
