"""What a training run tells: a bar or lines on stdout, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lisa.progress import duration
from lisa.whole_file import told_if_full, write_whole

FULL_DISK = "free space, and --resume goes on from the last checkpoint"


class RunLog:
    """metrics.jsonl and TensorBoard, both against the true global step."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "metrics.jsonl"
        with told_if_full(self.path, FULL_DISK):
            self._forget_after(step)
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, stage: str, values: dict[str, float]) -> None:
        """One line and one point per value."""
        line = json.dumps({"step": step, "stage": stage} | {k: round(v, 6) for k, v in values.items()})
        with told_if_full(self.path, FULL_DISK):
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            for name, value in values.items():
                self.board.add_scalar(f"{stage}/{name}", value, step)
            self.board.flush()

    def _forget_after(self, step: int) -> None:
        """Drop lines of steps that a resumed run will do again; of a damaged file a copy stays."""
        if not self.path.exists():
            return
        # Whole lines end in a newline; a kill may have cut off the last one.
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
        steps = [_step_of(line) for line in lines]
        if damaged := steps.count(None):
            copy = self.path.with_name(f"{self.path.name}.damaged")
            copy.write_bytes(self.path.read_bytes())
            print(
                f"note: {damaged} lines of {self.path} cannot be read and are left out; {copy.name} has them",
                flush=True,
            )
        kept = [line for line, at in zip(lines, steps, strict=True) if at is not None and at <= step]
        write_whole(self.path, "".join(line + "\n" for line in kept))


def _step_of(line: str) -> int | None:
    """The step of a line of metrics.jsonl; None where it is none."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None


class StepProgress:
    """Steps of a stage on stdout: a bar in a terminal; elsewhere a whole line for each line of the log."""

    def __init__(self, stage: str, step: int, last: int, total: int, images_per_step: int, quiet: bool) -> None:
        self.stage, self.step, self.last, self.total = stage, step, last, total
        self.images_per_step, self.quiet = images_per_step, quiet
        self.logged_at, self.logged = time.perf_counter(), step
        self.bar: Progress | None = None
        if not quiet and sys.stdout.isatty():
            self.bar = _bar()
            self.task = self.bar.add_task(stage, total=last, completed=step, terms="")

    def __enter__(self) -> StepProgress:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self) -> None:
        """One step is done."""
        self.step += 1
        if self.bar:
            self.bar.update(self.task, completed=self.step)

    def images_per_second(self) -> float:
        """Since it was last asked."""
        now = time.perf_counter()
        pace = (self.step - self.logged) * self.images_per_step / (now - self.logged_at)
        self.logged, self.logged_at = self.step, now
        return pace

    def tell(self, values: dict[str, float]) -> None:
        """Loss terms, lr and images_per_second of the step that is done."""
        if self.bar:
            self.bar.update(self.task, terms=_describe(values))
        elif not self.quiet:
            left = (self.total - self.step) * self.images_per_step / max(values["images_per_second"], 1e-9)
            print(
                f"step {self.step}/{self.total} · {self.stage} · {_describe(values)} · {duration(left)} left",
                flush=True,
            )


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[terms]}"),
    )


def _describe(values: dict[str, float]) -> str:
    """loss 1.234 ce 0.567 · lr 1.0e-03 · 12.3 images/s"""
    losses = " ".join(
        f"{name} {value:.3f}" for name, value in values.items() if name not in ("lr", "images_per_second")
    )
    return f"{losses} · lr {values['lr']:.1e} · {values['images_per_second']:.1f} images/s"
