"""Weights that are not finite: found before they are written, and named."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from lisa.weights import in_dtype

NAMED = 3
"""So many weights are named in a message."""


def refuse_not_finite(weights: Iterable[tuple[str, Tensor]], dtype: str = "") -> None:
    """ValueError when one of the weights, by name, is not finite, or would not be in the type that a flag names."""
    broken, too_large = [], []
    for name, weight in weights:
        if not weight.is_floating_point() or _is_finite(in_dtype(name, weight, dtype)):
            continue
        (too_large if _is_finite(weight) else broken).append(name)
    if broken:
        raise ValueError(
            f"{_listed(broken)} not finite, so nothing is saved: lower --lr or use --precision fp32, and go on from an "
            "earlier checkpoint"
        )
    if too_large:
        raise ValueError(f"{_listed(too_large)} too large for {dtype}, so nothing is saved: save as bf16 or fp32")


def _is_finite(weight: Tensor) -> bool:
    return bool(weight.isfinite().all())


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"the weights {', '.join(names[:NAMED])}{more} are" if len(names) > 1 else f"the weight {names[0]} is"
