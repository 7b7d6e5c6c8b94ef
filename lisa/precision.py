"""`--precision auto`: bf16 where this device multiplies it faster than fp32, which a measurement of 0.1 s tells.

Processors with units for bf16 (AVX512_BF16, AMX, GPUs since Ampere) multiply it two to sixteen times as fast as fp32,
others emulate it and take two to five times as long.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
import torch.nn.functional as F

if TYPE_CHECKING:
    from lisa.arguments import TrainArgs

AUTO = "auto"
LAYERS = {"cpu": (1024, 192, 512), "cuda": (4096, 4096, 4096)}
"""Tokens, inputs and outputs of the linear layer that is measured: on a CPU, one of the tiny model's MLP."""
BUDGET = 0.1
"""Seconds after which no more pairs are measured."""
PAIRS = 9
ENOUGH = 1.1
"""How many times as fast bf16 must be. A step of the tiny preset takes the same time in both at about 1.0, and up to
here the better of the two is at most 4 % faster (docs/speed.md)."""


@dataclass(frozen=True, kw_only=True)
class Products:
    """How a device multiplies."""

    device: str
    bf16_speed: float
    """How many times as fast as fp32: a linear layer, as autocast computes it."""

    @property
    def prefers_bf16(self) -> bool:
        """Whether bf16 is worth its conversions."""
        return self.bf16_speed >= ENOUGH

    def __str__(self) -> str:
        speed = self.bf16_speed
        compared = f"{speed:.1f} times as fast as" if speed >= 1 else f"{1 / speed:.1f} times as slow as"
        return f"the {self.device.upper()} multiplies bf16 {compared} fp32"


def measure_products(device: str) -> Products:
    """Time both precisions in turns on "cpu" or "cuda"; takes about `BUDGET` seconds.

    On one thread of a CPU, whose own time is counted: a busy machine does not change the result, and with more
    threads both precisions gain alike.
    """
    tokens, inputs, outputs = LAYERS[device]
    x, weight = torch.randn(tokens, inputs, device=device), torch.randn(outputs, inputs, device=device)
    with _one_thread(), torch.inference_mode():
        _seconds(x, weight, False), _seconds(x, weight, True)  # the first ones choose algorithms
        pairs, started = [], time.perf_counter()
        while len(pairs) < PAIRS and (not pairs or time.perf_counter() - started < BUDGET):
            pairs.append([_seconds(x, weight, in_bf16) for in_bf16 in (False, True)])
    fp32, bf16 = (min(side) for side in zip(*pairs, strict=True))
    return Products(device=device, bf16_speed=fp32 / bf16)


def _seconds(x: torch.Tensor, weight: torch.Tensor, in_bf16: bool) -> float:
    """Of the layer, its conversions included."""
    on_gpu = x.device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.thread_time
    if on_gpu:
        torch.cuda.synchronize(x.device)
    started = clock()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=in_bf16):
        F.linear(x, weight)
    if on_gpu:
        torch.cuda.synchronize(x.device)
    return clock() - started


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def precision_for(products: Products, optimizer: str) -> str:
    """The value of --precision that suits a device best."""
    if not products.prefers_bf16:
        return "fp32"
    return "bf16_mixed" if optimizer == "muon" else "bf16"  # Muon needs weights in full precision


def resolve_precision(args: TrainArgs) -> TrainArgs:
    """The arguments with a precision in the place of "auto", and a line that tells which and why.

    A run that is continued keeps the one that it began with, which its flags.json holds.
    """
    if args.precision != AUTO:
        return args
    products = measure_products("cuda" if torch.cuda.is_available() else "cpu")
    here = precision_for(products, args.optimizer)
    began = _began_with(args)
    chosen = began or here
    note = "" if chosen == here else f"; the run began with it, --precision auto would choose {here} here"
    print(f"precision {chosen} ({products}){note}", flush=True)
    return replace(args, precision=chosen)


def _began_with(args: TrainArgs) -> str:
    """The precision of the run that --resume continues; "" where there is none (`prepare_run_dir` checks the file)."""
    flags = args.run_dir / "flags.json"
    if not args.resume or not flags.is_file():
        return ""
    try:
        return str(json.loads(flags.read_text(encoding="utf-8"))["precision"])
    except (ValueError, KeyError, TypeError):
        return ""


def agree_on_precision(args: TrainArgs) -> TrainArgs:
    """The arguments with the precision of the first process, in all processes that train together."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return resolve_precision(args)
    if dist.get_rank() == 0:
        args = resolve_precision(args)
    chosen = [args.precision]
    dist.broadcast_object_list(chosen, src=0)
    return replace(args, precision=chosen[0])
