"""A training run: steps with their log, stage by stage, and the checkpoints between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lisa.arguments import Stage, TrainArgs
from lisa.disk_space import check_disk_space
from lisa.engine import SampleStream, micro_batches, start_engine
from lisa.modeling import LisaModel
from lisa.normalization import mean_over_ranks, shares_of_step
from lisa.precision import agree_on_precision
from lisa.processes import join_processes
from lisa.processing import Batch
from lisa.profile_table import StepProfiler
from lisa.profiling import part
from lisa.ranks import Ranks, check_alike
from lisa.run_checkpoint import (
    RunState,
    checkpoints_in,
    load_checkpoint,
    newest_whole,
    read_state,
    save_checkpoint,
    set_aside,
)
from lisa.run_dir import check_state, flags_as_text
from lisa.run_log import RunLog, StepProgress
from lisa.run_stop import RunStopped, StopSignals
from lisa.skipped import SkippedSteps
from lisa.trainable import train_mode
from lisa.weights import check_finite


class Trainer:
    """Runs optimiser steps from where the last checkpoint left off.

    draw(epoch, i) gives a sample, collate turns a list of samples into a Batch.
    """

    def __init__(
        self,
        model: LisaModel,
        args: TrainArgs,
        draw: Callable[[int, int], Any],
        collate: Callable,
        signals: StopSignals | None = None,
    ) -> None:
        self.model, self.signals = model, signals or StopSignals()
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.ranks = Ranks(*join_processes())
        self.rank, self.world = self.ranks.rank, self.ranks.world
        self.args = args = agree_on_precision(args)
        check_alike(self.ranks, args)
        check_disk_space(model, args)
        self.checkpoints = args.run_dir / "checkpoints"
        checkpoint = self._choose_checkpoint() if args.resume else None
        self.step = read_state(checkpoint).step if checkpoint else 0
        stream = SampleStream(draw, collate, args, self.rank, self.world, self.step)
        self.batches: Iterator[Batch] = micro_batches(stream, args.workers)
        self.log = RunLog(args.run_dir, self.step) if self.rank == 0 else None
        self.engine, self.stage = None, None
        device = "cuda" if torch.cuda.is_available() else "cpu"  # where the engine will put the model
        self.profiler = StepProfiler(
            args.profile, device, args.precision, args.run_dir / "profile.json" if self.rank == 0 else None
        )
        self.broken_at: Tensor | None = None
        self.skipped = SkippedSteps(args, stream)
        if checkpoint:
            self._enter(next(stage for stage in args.stages if self.step <= stage.last))
            load_checkpoint(self.engine, checkpoint)

    def run_until(self, last_step: int, stage: Stage) -> None:
        """Train to `last_step` (of the whole run) in a stage of `TrainArgs.stages`.

        RunStopped: a signal came; the step that it came in is done and in a checkpoint.
        """
        if self.step >= last_step:
            return
        if stage != self.stage:
            self._enter(stage)
        train_mode(self.model)
        images_per_step = self.args.batch_size * self.args.grad_accumulation_steps * self.world
        quiet, total = self.log is None, self.args.total_steps
        with StepProgress(stage.name, self.step, last_step, total, images_per_step, quiet) as progress:
            while self.step < last_step:
                with self.signals.step():
                    with self.profiler.step():
                        terms = self._one_step(stage.name)
                    progress.advance()
                    stops = self.ranks.any(self.signals.asked is not None)
                    self._log_and_save(progress, terms, ends=stops or self.step == last_step)
                if stops:
                    raise self._stopped()

    def _log_and_save(self, progress: StepProgress, terms: dict[str, Tensor], ends: bool) -> None:
        """What is due after a step; both are where the run ends."""
        saves = ends or self.step % self.args.save_every == 0
        logs = ends or self.step % self.args.print_freq == 0
        if saves or logs:
            self._refuse_broken()
        if logs:
            values = {name: value.item() for name, value in terms.items()}
            values |= {"lr": self.engine.get_lr()[-1], "images_per_second": progress.images_per_second()}
            progress.tell(values)
            if self.log:
                self.log.write(self.step, progress.stage, values)
        if saves:
            self._save()

    def _stopped(self) -> RunStopped:
        if self.log:
            print(
                f"stopped by a signal at step {self.step} of {self.args.total_steps}, which is saved in "
                f"{self.checkpoints}; the same command with --resume goes on",
                flush=True,
            )
        return RunStopped()

    def _choose_checkpoint(self) -> Path | None:
        """The newest one that is whole, the same in all processes; damaged ones are told and renamed."""
        chosen = None
        if self.rank == 0:
            chosen, problems = newest_whole(self.checkpoints)
            for problem in problems:
                print(f"note: {problem}; the checkpoint before it, {chosen}, is loaded", flush=True)
            newer = checkpoints_in(self.checkpoints)[-len(problems) :] if problems else []
            for damaged in newer:
                print(f"note: the damaged one is now {set_aside(damaged)}; nothing reads it", flush=True)
            if chosen is None:
                print(f"note: there is no checkpoint in {self.checkpoints} yet; training begins at step 0", flush=True)
        chosen = self.ranks.of_first(chosen)
        if chosen is not None:
            check_state(self.args, read_state(chosen), self.world)
        return chosen

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
        check_finite(f"the model after step {self.step}", dict(self.model.named_parameters()))
        learning = [parameter.requires_grad for parameter in self.trained]
        for parameter in self.trained:
            parameter.requires_grad_(True)  # DeepSpeed leaves out what is frozen
        state = RunState(step=self.step, world=self.world, flags=flags_as_text(self.args))
        save_checkpoint(self.engine, self.checkpoints, state)
        for parameter, learns in zip(self.trained, learning, strict=True):
            parameter.requires_grad_(learns)

    def note(self, values: dict[str, float], stage: str, data: str) -> None:
        """Print and log what a stage reached on held-out data."""
        if self.log:
            print(
                f"{stage} on {data}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()), flush=True
            )
            self.log.write(self.step, f"{stage} on {data}", values)

    def _one_step(self, stage: str) -> dict[str, Tensor]:
        """One optimiser step; returns the mean of each loss term over its micro-batches.

        The device is waited for once, to know whether the gradient is finite; the terms, means over all ranks, are
        read where a line of the log is written.
        """
        # Dropout is a function of (seed, step, rank), so a resumed run draws what an unbroken one draws.
        torch.manual_seed(hash((self.args.seed, self.step, self.rank)) % 2**63)
        totals: dict[str, Tensor] = {}
        for batch, shares in self._micro_batches():
            terms = self.engine(batch, stage, shares)
            with part("losses and masks, backward"):
                self.engine.backward(terms["loss"])
            with part("optimiser"):
                self.engine.step()
            for name, value in terms.items():
                totals[name] = totals.get(name, 0.0) + value.detach() / self.args.grad_accumulation_steps
        totals = mean_over_ranks(totals, self.world)
        self._note_broken(totals["loss"])
        self.step += 1
        loss_scale = getattr(self.engine.optimizer, "loss_scale", 1.0)  # torch's own optimisers have none
        self.skipped.note(self.step, self.engine.was_step_applied(), loss_scale)
        return totals | self.skipped.terms(totals["loss"])

    def _micro_batches(self) -> Iterator[tuple[Batch, dict[str, Tensor] | None]]:
        """The micro-batches of a step on the device, each with the shares of its loss terms in those of the step."""
        device, count = self.engine.device, self.args.grad_accumulation_steps
        if self.args.loss_normalization == "micro_batch":
            for _ in range(count):
                with part("data"):
                    batch = next(self.batches).to(device)
                yield batch, None
            return
        with part("data"):
            batches = [next(self.batches) for _ in range(count)]
            shares = shares_of_step(batches, self.model.config, self.world, device)
        while batches:
            with part("data"):
                batch = batches.pop(0).to(device)
            yield batch, shares.pop(0)

    def _note_broken(self, loss: Tensor) -> None:
        """Remember, on the device, the first step whose loss is not finite."""
        never = torch.full_like(loss, torch.inf)
        now = never.where(loss.isfinite(), self.step)
        self.broken_at = now if self.broken_at is None else torch.minimum(self.broken_at, now)

    def _refuse_broken(self) -> None:
        """End the run before it logs or saves anything that came after such a step."""
        if self.broken_at is not None and self.broken_at.isfinite():
            # Weights of half precision stay so: only what may change on --resume is advised.
            or_fp32 = " or use --precision fp32" if self.args.precision == "bf16_mixed" else ""
            raise ValueError(
                f"the loss was not finite at step {self.broken_at.item():.0f}; lower --lr{or_fp32}, then --resume "
                "continues from the last checkpoint"
            )
