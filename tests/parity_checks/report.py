"""One line per comparison, and how many failed; reference files whose every entry has to be accounted for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

CLOSE = 1e-4
"""Greatest difference allowed, relative to the greatest absolute value wanted."""
FLIPS = 5
"""Pixels of a mask that may change sign."""
ABSENT = object()
"""Stands for an entry that a case does not have."""
MISSING = "the case does not have it"


class Report:
    """Prints a line for every comparison."""

    def __init__(self) -> None:
        self.compared = self.failed = 0

    def line(self, case: str, name: str, ok: bool, text: str) -> None:
        """One comparison with its outcome."""
        self.compared += 1
        self.failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {case} {name}: {text}", flush=True)

    def equal(self, case: str, name: str, ours: Any, wanted: Any) -> None:
        """Two values, or two tensors of the same shape, are the same."""
        if wanted is ABSENT or (wanted is None and isinstance(ours, Tensor)):
            self.listed(case, name, MISSING)
            return
        if isinstance(wanted, Tensor):
            same = ours.shape == wanted.shape and bool((ours.to(wanted.dtype) == wanted).all())
            self.line(
                case, name, same, "equal" if same else f"differ, shapes {tuple(ours.shape)} {tuple(wanted.shape)}"
            )
            return
        self.line(case, name, ours == wanted, "equal" if ours == wanted else f"{ours!r} instead of {wanted!r}"[:500])

    def close(self, case: str, name: str, ours: Tensor, wanted: Tensor | None, tolerance: float = CLOSE) -> bool:
        """The greatest difference relative to the maximum is within the tolerance; false if nothing was compared."""
        if wanted is None:
            self.listed(case, name, MISSING)
            return False
        if ours.shape != wanted.shape:
            self.line(case, name, False, f"shape {tuple(ours.shape)} instead of {tuple(wanted.shape)}")
            return False
        difference = relative_difference(ours, wanted)
        self.line(case, name, difference <= tolerance, f"{difference:.2e} of the maximum (allowed {tolerance:g})")
        return True

    def masks(self, case: str, name: str, ours: Tensor, wanted: Tensor) -> None:
        """Mask logits (N, H, W) are close, and few pixels of each mask change sign."""
        if not self.close(case, name, ours, wanted):
            return
        flips = ((ours > 0) != (wanted > 0)).flatten(1).sum(1).tolist()
        self.line(
            case, f"{name} signs", max(flips, default=0) <= FLIPS, f"sign flips of each mask {flips} (allowed {FLIPS})"
        )

    def relative(self, case: str, name: str, ours: float, wanted: float, tolerance: float) -> None:
        """Two numbers differ by at most `tolerance` of the wanted one."""
        difference = abs(ours - wanted) / max(abs(wanted), 1e-12)
        text = f"{ours:.9g} instead of {wanted:.9g}, {difference:.2e} relative (allowed {tolerance:g})"
        self.line(case, name, difference <= tolerance, text)

    def absolute(self, case: str, name: str, ours: float, wanted: float, tolerance: float) -> None:
        """Two numbers differ by at most `tolerance`."""
        difference = abs(ours - wanted)
        self.line(case, name, difference <= tolerance, f"{ours:.9g} instead of {wanted:.9g} (allowed {tolerance:g})")

    def fail(self, case: str, name: str, reason: str) -> None:
        """Something that could not be compared but should have been."""
        self.line(case, name, False, reason)

    def listed(self, case: str, name: str, why: str) -> None:
        """Something that has no counterpart of ours."""
        print(f"--   {case} {name}: not compared, {why}", flush=True)


def relative_difference(ours: Tensor, wanted: Tensor) -> float:
    """Greatest absolute difference over the greatest absolute value of `wanted`; infinite where ours is not finite."""
    if wanted.numel() == 0:
        return 0.0
    difference = (ours.double() - wanted.double()).abs().max().item()
    return difference / max(wanted.double().abs().max().item(), 1e-12) if difference == difference else float("inf")


class Golden:
    """One case: its JSON and its tensors, which remember what was read."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.facts = json.loads(path.read_text(encoding="utf-8"))
        tensors = path.with_suffix(".safetensors")
        self.tensors = load_file(tensors) if tensors.is_file() else {}
        self.read: set[str] = set()

    def fact(self, name: str) -> Any:
        """An entry of the JSON."""
        self.read.add(f"json {name}")
        return self.facts[name]

    def optional(self, name: str) -> Any:
        """An entry of the JSON that a case may do without: `ABSENT` then."""
        return self.fact(name) if name in self.facts else ABSENT

    def tensor(self, name: str) -> Tensor | None:
        """A tensor; None where the case does not list it, which the report then says."""
        self.read.add(name)
        if name not in self.tensors and name in self.facts.get("tensors", {name}):
            raise ValueError(f"the file lacks {name}, which the case lists")
        return self.tensors.get(name)

    def list_facts(self, report: Report, names: Iterable[str], why: str) -> None:
        """Say that these entries have no counterpart of ours."""
        for name in names:
            if name in self.facts:
                report.listed(self.name, f"json {name}", why)
                self.read.add(f"json {name}")

    def close(self, report: Report) -> None:
        """Every entry that nothing was compared with is a failure."""
        for name in sorted({*self.tensors, *(f"json {fact}" for fact in self.facts)} - self.read):
            report.fail(self.name, name, "unknown to this script, and so not compared")


def every(full: Tensor, part: Tensor | None) -> Tensor:
    """`full` thinned out to the shape of `part`: each dimension keeps every k-th entry."""
    if part is None:
        return full
    for dimension, size in enumerate(part.shape):
        step = -(-full.shape[dimension] // max(size, 1))
        full = full.index_select(dimension, torch.arange(0, full.shape[dimension], max(step, 1)))
    return full
