"""Files of named tensors, read without running code that a pickle may hold; light to import."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

_BROKEN = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, SafetensorError)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Every tensor of a .safetensors, .bin, .pt or .pth file, by name, on the CPU; SAM 2's are one level down.

    The tensors stay in the file until they are used, and are gone from memory when the last of them is let go.
    FileNotFoundError or ValueError name the file when it is missing, cut off, or no file of plain tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; copy the missing file there")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except _BROKEN as error:
        raise ValueError(
            f"{path} is no file of weights, or only a part of one, or holds more than tensors; download it again"
        ) from error
    if isinstance(weights, dict) and list(weights) == ["model"]:
        weights = weights["model"]
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(
            f"{path} holds something else than named tensors; give a checkpoint's weights, as in sam_vit_h_4b8939.pth"
        )
    return weights


def check_fit(
    source: str | Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str, mend: str
) -> None:
    """Whether `found` has the names and shapes of `wanted`, no less and no more.

    ValueError names every key that is missing, unexpected or of another shape; `what` says what it does not fit, `mend`
    what to do.
    """
    missing = sorted(wanted.keys() - found.keys())
    unexpected = sorted(found.keys() - wanted.keys())
    reshaped = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & found.keys())
        if found[key].shape != wanted[key].shape
    ]
    if missing or unexpected or reshaped:
        raise ValueError(
            f"{source} does not fit {what}: {len(missing)} keys missing {missing}, "
            f"{len(unexpected)} unexpected {unexpected}, {len(reshaped)} of another shape {reshaped}; {mend}"
        )
