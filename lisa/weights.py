"""Types of weights, by the names that flags give them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

import sam_bridge

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

POSITIONS = "positional_encoding_gaussian_matrix"
"""SAM's random frequencies; rounded, they would move every position."""


def dtype_of(name: str) -> torch.dtype:
    """The type that a flag names; ValueError else."""
    if name not in DTYPES:
        raise ValueError(f"dtype {name!r} is none of auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def check_finite(source: str | Path, weights: Mapping[str, Tensor], dtype: str | torch.dtype | None = None) -> None:
    """Whether all weights are finite, and stay so in `dtype` (a flag's name, or a type; "" and None are their own).

    ValueError names those that are not, and says what to do; SAM's frequencies keep their type.
    """
    wanted = dtype_of(dtype) if isinstance(dtype, str) and dtype else dtype or None
    cast = {name: tensor for name, tensor in weights.items() if not name.endswith(POSITIONS)}
    sam_bridge.check_finite(source, cast, wanted)
    sam_bridge.check_finite(source, {name: weights[name] for name in weights.keys() - cast.keys()})


def in_dtype(name: str, tensor: Tensor, dtype: str) -> Tensor:
    """The weight `name` in the type that a flag names, "" being its own; SAM's frequencies stay as they are."""
    return tensor if not dtype or name.endswith(POSITIONS) else tensor.to(dtype_of(dtype))
