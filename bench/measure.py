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


@dataclass(frozen=True, kw_only=True)
class Took:
    """Seconds of one run."""

    wall: float
    cpu: float
    """Of all threads of this process, which other processes lengthen less."""


def alternate(a: Side, b: Side, pairs: int, device: torch.device) -> dict[str, list[float] | float]:
    """Both sides `pairs` times, one after the other, so that a busy machine slows both; each has run before.

    Returns their seconds, and as `ratio` and `cpu_ratio` how many times as fast b is: the median over the pairs.
    """
    measured = [(took(a, device), took(b, device)) for _ in range(pairs)]
    return {
        "ratio": statistics.median(x.wall / y.wall for x, y in measured),
        "cpu_ratio": statistics.median(x.cpu / y.cpu for x, y in measured),
        "a_seconds": [x.wall for x, _ in measured],
        "b_seconds": [y.wall for _, y in measured],
        "a_cpu_seconds": [x.cpu for x, _ in measured],
        "b_cpu_seconds": [y.cpu for _, y in measured],
    }


def took(side: Side, device: torch.device) -> Took:
    """One run, the device's work included."""
    side.prepare()
    _wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    side.run()
    _wait(device)
    return Took(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
