"""Types of weights, by the names that flags give them."""

from __future__ import annotations

import torch
from torch import Tensor

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

POSITIONS = "positional_encoding_gaussian_matrix"
"""SAM's random frequencies; rounded, they would move every position."""


def dtype_of(name: str) -> torch.dtype:
    """The type that a flag names; ValueError else."""
    if name not in DTYPES:
        raise ValueError(f"dtype {name!r} is none of auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def in_dtype(name: str, tensor: Tensor, dtype: str) -> Tensor:
    """The weight `name` in the type that a flag names, "" being its own; SAM's frequencies stay as they are."""
    return tensor if not dtype or name.endswith(POSITIONS) else tensor.to(dtype_of(dtype))
