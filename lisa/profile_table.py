"""The table of a training run's profile: seconds, FLOPs and share of the machine's rate for each part of a step."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from lisa.profiling import Profile, matmul_rate, peak_memory

WARM_UP = 2
"""Steps that are not looked at: the first ones allocate memory and choose algorithms."""

WIDTH = 100
"""Characters of a table: more than a log's terminal may have."""

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
"""What products are computed in, by --precision; all others in bf16."""


class StepProfiler:
    """Looks at `steps` optimiser steps after the first ones, then prints a table and writes it to `path`.

    One more step before them counts FLOPs. With 0 steps it never looks.
    """

    def __init__(self, steps: int, device: torch.device | str, precision: str, path: Path | None) -> None:
        self.steps, self.device, self.path = steps, device, path
        self.dtype = DTYPES.get(precision, torch.bfloat16)
        self.profile = Profile(device)
        self.seen = 0

    @contextlib.contextmanager
    def step(self):
        """Around one optimiser step."""
        number = self.seen - WARM_UP
        self.seen += 1
        if not self.steps or number < 0 or number > self.steps:
            yield
            return
        with self.profile.watch(flops=number == 0):
            yield
        if number == self.steps and self.path is not None:
            report = summarize(self.profile, self.steps, matmul_rate(self.device, self.dtype))
            print_profile(report)
            self.path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def summarize(profile: Profile, steps: int, rate: float) -> dict:
    """{"parts": one row for each, "step": the whole, ...}; FLOPs are of one step, seconds the mean over `steps`."""
    seconds = {name: total / steps for name, total in profile.seconds.items()}
    whole = sum(seconds.values())
    names = sorted(seconds, key=seconds.get, reverse=True)
    rows = {name: _row(seconds[name], profile.flops.get(name, 0), whole, rate) for name in names}
    return {
        "steps": steps,
        "matmul_flops_per_second": rate,
        "peak_memory_bytes": peak_memory(profile.device),
        "parts": rows,
        "step": _row(whole, sum(profile.flops.values()), whole, rate),
    }


def _row(seconds: float, flops: int, whole: float, rate: float) -> dict[str, float]:
    mfu = flops / seconds / rate if seconds else 0.0
    return {"seconds": seconds, "share": seconds / whole, "gflop": flops / 1e9, "mfu": mfu}


def print_answer(profile: Profile, tokens: int, first_token: float | None) -> None:
    """Where the time of an answer went, how soon its first token came (seconds) and how fast the others."""
    whole, spoken = sum(profile.seconds.values()), profile.seconds.get("tokens", 0.0)
    came = f"first token after {first_token:.2f} s · " if first_token is not None else ""
    pace = f"{tokens} tokens, {tokens / spoken:.1f} per second · " if spoken else ""
    table = Table(title=f"{came}{pace}all, with masks, after {whole:.2f} s")
    for column in ("part", "seconds", "share"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for name, seconds in sorted(profile.seconds.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{seconds:.3f}", f"{seconds / whole:.0%}")
    Console(width=WIDTH).print(table)


def print_profile(report: dict) -> None:
    """A line for each part, the slowest first, and one for the whole step."""
    rate, memory = report["matmul_flops_per_second"] / 1e9, report["peak_memory_bytes"] / 2**30
    table = Table(title=f"a step, mean of {report['steps']} · matmul {rate:.0f} GFLOP/s · peak memory {memory:.1f} GiB")
    table.add_column("part")
    for column in ("seconds", "share", "GFLOP", "share of matmul rate"):
        table.add_column(column, justify="right")
    for name, row in (report["parts"] | {"whole step": report["step"]}).items():
        table.add_row(name, f"{row['seconds']:.3f}", f"{row['share']:.0%}", f"{row['gflop']:.1f}", f"{row['mfu']:.2f}")
    Console(width=WIDTH).print(table)
