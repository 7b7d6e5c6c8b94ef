"""Two ways to compute the same, one after the other in one process, several times: ratios that a busy machine keeps."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table

from bench.measure import Side, took
from bench.models import SHAPES, build
from bench.report import environment
from lisa.generation import Predictor

LARGEST_DIFFERENCE = 1e-3
"""Relative; more than that is no rounding in fp32, and the benchmark compares two different things."""


@dataclass(frozen=True, kw_only=True)
class PairFlags:
    """Measure two ways to compute the same."""

    config: str = "medium"
    """tiny, medium, lisa7b-layer or lisa7b: the sizes of the model, whose weights are random."""
    pairs: int = 5
    """Times that each side is measured, after one time that does not count."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the weights; results are compared, but not required to be equal, in bf16."""
    out: Path | None = None
    """Also write the figures here, as JSON."""


def predictor_for(flags: PairFlags) -> Predictor:
    """The model of the flags, where and how they want it."""
    if flags.pairs < 1:
        raise ValueError(f"--pairs {flags.pairs}: each side is measured at least once")
    if flags.config not in ("tiny", *SHAPES):
        raise ValueError(f"--config {flags.config!r}: there is no such model; choose from tiny, {', '.join(SHAPES)}")
    device = ("cuda" if torch.cuda.is_available() else "cpu") if flags.device == "auto" else flags.device
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[flags.precision]
    model, processor = build(flags.config, device=device, dtype=dtype)
    return Predictor(model, processor, name=flags.config)


@torch.inference_mode()
def measure_pairs(a: Callable[[], Any], b: Callable[[], Any], pairs: int) -> tuple[list[float], list[float]]:
    """Wall seconds of both, alternating, after a first time of each."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs + 1):
        for side, call in zip(seconds, (a, b), strict=True):
            taken = seconds_of(call)
            if pair:
                side.append(taken)
    return seconds


def seconds_of(call: Callable[[], Any]) -> float:
    """Wall seconds of a call, up to the end of what it started on a GPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return took(Side(run=call), device).wall


def make_row(name: str, seconds: tuple[list[float], list[float]], difference: float, **more: Any) -> dict:
    """One row of the report; the ratio is the median over the pairs of how much longer a takes than b."""
    a, b = seconds
    ratio = statistics.median(x / y for x, y in zip(a, b, strict=True))
    return {"name": name, "ratio": ratio, "max_rel_diff": difference, "a_seconds": a, "b_seconds": b, **more}


def relative_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference between two tensors, as a share of the largest value."""
    return float((one.float() - other.float()).abs().max() / other.float().abs().max())


def require_same(name: str, difference: float, flags: PairFlags) -> None:
    """ValueError when both sides of a row computed different things in fp32."""
    if flags.precision == "fp32" and not difference <= LARGEST_DIFFERENCE:
        raise ValueError(
            f"{name}: the two sides differ by {difference:.1e} of the largest value, so that their times cannot be "
            f"compared (allowed: {LARGEST_DIFFERENCE:.0e}); mend the path before its speed is measured"
        )


def finish(title: str, rows: list[dict], flags: PairFlags) -> dict:
    """Print the rows, write them where --out wants them, return the report."""
    report = environment() | {"config": flags.config, "precision": flags.precision, "threads": torch.get_num_threads()}
    report["rows"] = rows
    table = Table(title=f"{title}, {flags.config}, {flags.precision}")
    for column in ("", "a", "b", "a / b", "largest difference"):
        table.add_column(column)
    for row in rows:
        medians = [f"{statistics.median(row[side]):.3f} s" for side in ("a_seconds", "b_seconds")]
        table.add_row(row["name"], *medians, f"{row['ratio']:.2f}", f"{row['max_rel_diff']:.1e}")
    Console().print(table)
    if flags.out:
        flags.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report
