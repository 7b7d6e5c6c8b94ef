"""A training run: steps with their log, stage by stage, and the checkpoints between them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from lisa.arguments import Stage, TrainArgs
from lisa.engine import (
    SampleStream,
    load_checkpoint,
    micro_batches,
    save_checkpoint,
    start_engine,
    steps_done,
)
from lisa.modeling import LisaModel
from lisa.precision import agree_on_precision
from lisa.processes import join_processes
from lisa.processing import Batch
from lisa.profile_table import StepProfiler
from lisa.profiling import part
from lisa.trainable import train_mode
from lisa.whole_file import write_whole


class Trainer:
    """Runs optimiser steps from where the last checkpoint left off.

    draw(epoch, i) gives a sample, collate turns a list of samples into a Batch.
    """

    def __init__(self, model: LisaModel, args: TrainArgs, draw: Callable[[int, int], Any], collate: Callable) -> None:
        self.model = model
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.rank, self.world = join_processes()
        self.args = args = agree_on_precision(args)
        self.checkpoints = args.run_dir / "checkpoints"
        self.step = steps_done(self.checkpoints) if args.resume else 0
        stream = SampleStream(draw, collate, args, self.rank, self.world, self.step)
        self.batches: Iterator[Batch] = micro_batches(stream, args.workers)
        self.log = RunLog(args.run_dir, self.step) if self.rank == 0 else None
        self.engine, self.stage = None, None
        device = "cuda" if torch.cuda.is_available() else "cpu"  # where the engine will put the model
        self.profiler = StepProfiler(
            args.profile, device, args.precision, args.run_dir / "profile.json" if self.rank == 0 else None
        )
        self.broken_at: Tensor | None = None
        if self.step:
            self._enter(next(stage for stage in args.stages if self.step <= stage.last))
            load_checkpoint(self.engine, self.checkpoints)

    def run_until(self, last_step: int, stage: Stage) -> None:
        """Train to `last_step` (of the whole run) in a stage of `TrainArgs.stages`."""
        if self.step >= last_step:
            return
        if stage != self.stage:
            self._enter(stage)
        train_mode(self.model)
        pace = _Pace(self.args.batch_size * self.args.grad_accumulation_steps * self.world)
        with _progress(quiet=self.log is None) as progress:
            bar = progress.add_task(stage.name, total=last_step, completed=self.step, terms="")
            while self.step < last_step:
                with self.profiler.step():
                    terms = self._one_step(stage.name)
                pace.steps += 1
                progress.update(bar, completed=self.step)
                ends = self.step == last_step
                saves = ends or self.step % self.args.save_every == 0
                logs = ends or self.step % self.args.print_freq == 0
                if saves or logs:
                    self._refuse_broken()
                if logs:
                    values = {name: value.item() for name, value in terms.items()}
                    values |= {"lr": self.engine.get_lr()[-1], "images_per_second": pace.images_per_second()}
                    progress.update(bar, terms=_describe(values))
                    if self.log:
                        self.log.write(self.step, stage.name, values)
                if saves:
                    self._save()

    def _enter(self, stage: Stage) -> None:
        """A new engine, for what learns in this stage: what does not is neither stepped nor decayed."""
        if self.engine is not None:
            self.engine.destroy()
        learning = {id(parameter) for module in self.model.learns_in(stage.name) for parameter in module.parameters()}
        for parameter in self.trained:
            parameter.requires_grad_(id(parameter) in learning)
        self.engine, self.stage = start_engine(self.model, self.args, stage.last - stage.first), stage

    def _save(self) -> None:
        """A checkpoint with all that was trained, in this stage or an earlier one."""
        learning = [parameter.requires_grad for parameter in self.trained]
        for parameter in self.trained:
            parameter.requires_grad_(True)  # DeepSpeed leaves out what is frozen
        save_checkpoint(self.engine, self.checkpoints, self.step)
        for parameter, learns in zip(self.trained, learning, strict=True):
            parameter.requires_grad_(learns)

    def note(self, values: dict[str, float], stage: str, data: str) -> None:
        """Print and log what a stage reached on held-out data."""
        if self.log:
            Console().print(f"{stage} on {data}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))
            self.log.write(self.step, f"{stage} on {data}", values)

    def _one_step(self, stage: str) -> dict[str, Tensor]:
        """One optimiser step; returns the mean of each loss term over its micro-batches.

        Nothing here waits for the device: the terms are read where a line of the log is written.
        """
        # Dropout is a function of (seed, step, rank), so a resumed run draws what an unbroken one draws.
        torch.manual_seed(hash((self.args.seed, self.step, self.rank)) % 2**63)
        totals: dict[str, Tensor] = {}
        for _ in range(self.args.grad_accumulation_steps):
            with part("data"):
                batch = next(self.batches).to(self.engine.device)
            with _autocast(self.args.precision, self.engine.device):
                terms = self.engine(batch, stage)
            with part("losses and masks, backward"):
                self.engine.backward(terms["loss"])
            with part("optimiser"):
                self.engine.step()
            for name, value in terms.items():
                totals[name] = totals.get(name, 0.0) + value.detach() / self.args.grad_accumulation_steps
        self._note_broken(totals["loss"])
        self.step += 1
        return totals

    def _note_broken(self, loss: Tensor) -> None:
        """Remember, on the device, the first step whose loss is not finite."""
        never = torch.full_like(loss, torch.inf)
        now = never.where(loss.isfinite(), self.step)
        self.broken_at = now if self.broken_at is None else torch.minimum(self.broken_at, now)

    def _refuse_broken(self) -> None:
        """End the run before it logs or saves anything that came after such a step."""
        if self.broken_at is not None and self.broken_at.isfinite():
            raise ValueError(
                f"the loss was not finite at step {self.broken_at.item():.0f}; lower --lr or use --precision fp32, "
                "then --resume continues from the last checkpoint"
            )


class _Pace:
    """Pictures per second since it was last asked."""

    def __init__(self, images_per_step: int) -> None:
        self.images_per_step = images_per_step
        self.steps, self.since = 0, time.perf_counter()

    def images_per_second(self) -> float:
        now = time.perf_counter()
        pace = self.steps * self.images_per_step / (now - self.since)
        self.steps, self.since = 0, now
        return pace


class RunLog:
    """metrics.jsonl and TensorBoard, both against the true global step."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "metrics.jsonl"
        self._forget_after(step)
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, stage: str, values: dict[str, float]) -> None:
        """One line and one point per value."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "stage": stage} | {k: round(v, 6) for k, v in values.items()}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(f"{stage}/{name}", value, step)
        self.board.flush()

    def _forget_after(self, step: int) -> None:
        """Drop lines of steps that a resumed run will do again."""
        if self.path.exists():
            # Whole lines end in a newline; a kill may have cut off the last one.
            lines = self.path.read_text(encoding="utf-8").split("\n")[:-1]
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            write_whole(self.path, "".join(line + "\n" for line in kept))


def _autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    if precision == "bf16_mixed":
        return torch.autocast(torch.device(device).type, torch.bfloat16)
    return contextlib.nullcontext()


def _progress(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[terms]}"),
        disable=quiet,
    )


def _describe(terms: dict[str, float]) -> str:
    losses = " ".join(f"{name} {value:.3f}" for name, value in terms.items() if name not in ("lr", "images_per_second"))
    return f"{losses} · {terms['images_per_second']:.1f} images/s"
