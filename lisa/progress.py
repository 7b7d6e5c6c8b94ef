"""How far whatever takes more than a few seconds has come: a bar in a terminal, whole lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

EVERY = 30.0
"""Seconds after which a line is due, where no tenth was done before."""


def progress_bar(*more: ProgressColumn) -> Progress:
    """Description, bar, count and time left of each task, then `more`; on stderr.

    Where stderr is no terminal: a line for each tenth that is done, at least one in 30 seconds.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        return LineProgress(console=console, disable=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), *more)
    return Progress(*columns, console=console)


class LineProgress(Progress):
    """Tasks whose progress is told in plain lines, as a log can hold them, with the numbers of their fields."""

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        super().__init__(*columns, **options)
        self._told: dict[TaskID, tuple[int, float]] = {}

    def add_task(self, description: str, **options: Any) -> TaskID:
        """As Progress does, with a line."""
        task_id = super().add_task(description, **options)
        self._tell(task_id)
        return task_id

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """As Progress does, then a line where one is due."""
        super().update(task_id, **changes)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As Progress does, then a line where one is due."""
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        task, now = self._tasks[task_id], time.monotonic()
        tenths = int(task.completed * 10 // task.total) if task.total else 0
        told_tenths, told_at = self._told.get(task_id, (-1, now))
        if tenths == told_tenths and now - told_at < EVERY:
            return
        self._told[task_id] = (tenths, now)
        done = f"{task.completed:.0f}/{task.total:.0f}" if task.total else f"{task.completed:.0f}"
        left = "" if task.time_remaining is None else f", {duration(task.time_remaining)} left"
        fields = "".join(f", {name} {value:.3f}" for name, value in task.fields.items())
        self.console.file.write(f"{task.description}: {done}{fields}{left}\n")
        self.console.file.flush()


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
