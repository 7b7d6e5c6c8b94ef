"""Where the time of a step goes: named parts, their seconds and FLOPs, as a share of what the machine can do.

A part is named where it is computed (`timed`, `backward_is`). While nobody profiles, that costs nothing.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

REST = "rest"
"""What belongs to no part."""

_watching: Profile | None = None
_nothing = contextlib.nullcontext()


def part(name: str) -> contextlib.AbstractContextManager:
    """What is done inside counts for the part; a part inside a part counts for itself only."""
    return _nothing if _watching is None else _watching.part(name)


def timed(name: str) -> Callable:
    """A decorator: every call of the function is a part."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with part(name):
                return function(*args, **kwargs)

        return call

    return decorate


def backward_is(name: str, tensor: Tensor) -> Tensor:
    """The same tensor; once its gradient is there, what is left of the backward pass counts for the part."""
    if _watching is not None and tensor.requires_grad:
        watching = _watching
        tensor.register_hook(lambda gradient: watching.turn(name))
    return tensor


class Profile:
    """Seconds and FLOPs of the parts while `watch` is on."""

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.seconds: dict[str, float] = defaultdict(float)
        self.flops: dict[str, int] = defaultdict(int)
        self._stack = [REST]
        self._since = 0.0

    @contextlib.contextmanager
    def watch(self, *, flops: bool = False) -> Iterator[Profile]:
        """Measure seconds; with `flops` count FLOPs instead, since that takes time of its own."""
        global _watching
        if _watching is not None:
            raise ValueError("a profile is being taken already; end it before the next one begins")
        _watching, self._counting = self, flops
        self._since = self._now()
        try:
            with _FlopCount(self) if flops else _nothing:
                yield self
        finally:
            self._account()
            self._stack = [REST]
            _watching = None

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """As the function of this name."""
        self._account()
        self._stack.append(name)
        try:
            yield
        finally:
            self._account()
            self._stack.pop()

    def turn(self, name: str) -> None:
        """From now on another part, up to the end of the one that is going on."""
        self._account()
        self._stack[-1] = name

    def count(self, flops: int) -> None:
        """FLOPs of the part that is going on."""
        self.flops[self._stack[-1]] += flops

    def _account(self) -> None:
        now = self._now()
        if not self._counting:
            self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class _FlopCount(TorchDispatchMode):
    """Counts the FLOPs of products and convolutions, forward and backward, by torch's own formulas."""

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        self.profile = profile

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None and func is not torch.ops.prim.device.default:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if formula is not None:
            self.profile.count(formula(*args, **kwargs, out_val=result))
        return result


def matmul_rate(device: torch.device | str, dtype: torch.dtype, size: int | None = None, times: int = 5) -> float:
    """FLOP/s of the best of some large square matrix products."""
    device = torch.device(device)
    size = size or (8192 if device.type == "cuda" else 2048)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    watch = Profile(device)
    best = float("inf")
    for _ in range(times):
        started = watch._now()
        left @ right
        best = min(best, watch._now() - started)
    return 2 * size**3 / best


def peak_memory(device: torch.device | str) -> int:
    """Bytes: the most that tensors took on a GPU, or the process on a CPU, so far."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
