"""Two ways to compute the same thing, side by side in one process: seconds, memory, and how far they are apart."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Side:
    """A way to compute something: `prepare` is not timed, `run` is."""

    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None

    def __call__(self) -> object:
        self.prepare()
        return self.run()


def alternate(a: Side, b: Side, pairs: int, device: torch.device) -> tuple[list[float], list[float]]:
    """Seconds of each side, `pairs` times, one after the other, so that a busy machine slows both."""
    for side in (a, b):
        side()  # the first time allocates memory
    measured = [(seconds(a, device), seconds(b, device)) for _ in range(pairs)]
    return [first for first, _ in measured], [second for _, second in measured]


def seconds(side: Side, device: torch.device) -> float:
    """Wall time of one run, the device's work included."""
    side.prepare()
    _wait(device)
    started = time.perf_counter()
    side.run()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ratio(a_seconds: Sequence[float], b_seconds: Sequence[float]) -> float:
    """How many times as fast b is: the median over the pairs."""
    return statistics.median(a / b for a, b in zip(a_seconds, b_seconds, strict=True))


def peak_bytes(side: Side, device: torch.device) -> int:
    """The most that the tensors of one run take, beyond what was there before."""
    side.prepare()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        side.run()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        side.run()
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    most = held = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most


def relative_difference(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Norm of the difference over the norm of the first, all tensors together."""
    apart = sum((a.double() - b.double()).square().sum().item() for a, b in zip(first, second, strict=True))
    whole = sum(a.double().square().sum().item() for a in first)
    return (apart / whole) ** 0.5 if whole else apart**0.5
