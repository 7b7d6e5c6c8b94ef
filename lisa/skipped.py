"""Optimiser steps left out because their gradient is not finite: counted, and named when there are too many."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lisa.arguments import TrainArgs
from lisa.engine import SampleStream
from lisa.whole_file import write_whole

LISTED = 20
"""So many samples are named in the message; all are in the file."""


class SkippedSteps:
    """Counts the steps that the engine has skipped, on all ranks alike."""

    def __init__(self, args: TrainArgs, stream: SampleStream) -> None:
        self.args, self.stream = args, stream
        self.total = 0
        self.in_a_row: list[int] = []

    def note(self, step: int, applied: bool, loss_scale: float = 1.0) -> None:
        """After step number `step` (1 is the first); ValueError after --max_skipped_steps in a row.

        A step that was not applied, so that fp16 may lower its loss scale, counts only where the scale is 1 already.
        """
        if applied:
            self.in_a_row = []
        elif loss_scale <= 1:
            self.total += 1
            self.in_a_row.append(step)
        if len(self.in_a_row) >= self.args.max_skipped_steps:
            self._stop()

    def terms(self, like: Tensor) -> dict[str, Tensor]:
        """For the log, once there was one: how many there were."""
        return {"skipped_steps": like.new_tensor(float(self.total))} if self.total else {}

    def _stop(self) -> None:
        drawn = [number for step in self.in_a_row for number in self.stream.drawn_in(step - 1)]
        samples = list(dict.fromkeys(_name(self.stream.draw(*number), *number) for number in drawn))
        file = self.args.run_dir / "skipped_samples.txt"
        if self.stream.rank == 0:
            write_whole(file, "".join(f"{sample}\n" for sample in samples))
        more = f"; and {len(samples) - LISTED} more, all in {file}" if len(samples) > LISTED else ""
        # Weights of half precision stay so: only what may change on --resume is advised.
        fp32 = ", use --precision fp32" if self.args.precision == "bf16_mixed" else ""
        raise ValueError(
            f"the gradient was not finite in {len(self.in_a_row)} optimiser steps in a row, {self.in_a_row[0]} to "
            f"{self.in_a_row[-1]}; nothing was learned from them, and no checkpoint holds them. Lower --lr{fp32}, "
            f"or look at their samples: {'; '.join(samples[:LISTED])}{more}"
        )


def _name(sample: Any, epoch: int, i: int) -> str:
    """Dataset and file of a sample, or its number where it does not tell them."""
    if hasattr(sample, "image_path"):
        return f"{sample.data}: {sample.image_path}"
    return f"sample {i} of epoch {epoch}"
