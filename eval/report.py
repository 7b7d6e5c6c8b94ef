"""The report of an evaluation: which code and model, all results, as a file and as tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval.metrics import PRECISION_THRESHOLDS
from lisa.whole_file import whole_file

CHECKOUT = Path(__file__).resolve().parents[1]

MODE_LABELS = {"teacher_forced": "teacher-forced", "generated": "generated"}
MASK_BASELINE_LABELS = {
    "mean_mask": "mean training mask",
    "largest": "largest thing",
    "everything": "everything",
    "nothing": "nothing",
}
NO_TARGET_LABELS = {
    "n_acc": "N-acc",
    "t_acc": "T-acc",
    "n_acc_50px": "N-acc 50px",
    "t_acc_50px": "T-acc 50px",
}
LABEL_WIDTH = 22  # the same for all tables, so that they line up


def code_commit(checkout: Path = CHECKOUT) -> str:
    """Hash of the checkout's commit, with "+dirty" where tracked files differ; "unknown" without git."""
    try:
        prefix, _, commit = _git(checkout, "rev-parse", "--show-prefix", "HEAD").partition("\n")
        changes = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    if prefix:  # an unpacked copy inside somebody else's repository
        return "unknown"
    return commit.strip() + ("+dirty" if changes.strip() else "")


def display_path(path: str | Path) -> str:
    """The path relative to the checkout where it lies inside, so that a report reads the same anywhere."""
    resolved = Path(path).resolve()
    return resolved.relative_to(CHECKOUT).as_posix() if resolved.is_relative_to(CHECKOUT) else str(path)


def make_report(model: str, results: list[dict]) -> dict:
    """The report; `results` are those of `benchmark.evaluate`."""
    return {"model": model, "commit": code_commit(), "results": results}


def write_report(report: dict, path: Path) -> None:
    """Write the report as JSON in one step: a reader finds the old file or the whole new one."""
    with whole_file(path) as file:
        json.dump(report, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


LOG_WIDTH = 200
"""Columns where stdout is no terminal, which would be taken to have 80."""


def print_report(report: dict, console: Console | None = None) -> None:
    """Print per data the scores of the model and the baselines, and by kind of question where it has any."""
    console = console or Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    console.print(f"[bold]{escape(report['model'])}[/bold], code {report['commit']}")
    for data, results in _by_data(report).items():
        first = next(iter(results.values()))
        console.print(f"\n[bold]{escape(data)}[/bold]  {first['images']} pictures, {first['samples']} questions")
        console.print(score_table(results))
        if first["by_type"]:
            console.print(type_table(results))
        if first["no_target"]:
            console.print(no_target_table(results))
        for mode, result in results.items():
            if result["without_mask"]:
                console.print(f"{MODE_LABELS[mode]}: {result['without_mask']} answers hold no mask")
    console.print("[dim]blind: the model is asked a question about another picture[/dim]")


def score_table(results: dict[str, dict]) -> Table:
    """A row per mode, then the baselines; `results` are those of one data by mode."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", min_width=LABEL_WIDTH)
    for name in ("gIoU", "95 %", "cIoU", *(f"P@{value}" for value in PRECISION_THRESHOLDS.values())):
        table.add_column(name, justify="right")
    for mode, result in results.items():
        table.add_row(MODE_LABELS[mode], *_cells(result), style="bold green")
    for mode, result in results.items():
        table.add_row(f"blind, {MODE_LABELS[mode]}", *_cells(result["baselines"]["blind"]))
    mask_baselines = next(iter(results.values()))["baselines"]  # they answer the same in every mode
    for name, label in MASK_BASELINE_LABELS.items():
        table.add_row(label, *_cells(mask_baselines[name]))
    return table


def type_table(results: dict[str, dict]) -> Table:
    """gIoU of each kind of question, a column per mode; `results` are those of one data by mode."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("kind of question", min_width=LABEL_WIDTH)
    table.add_column("questions", justify="right")
    for mode in results:
        table.add_column(f"gIoU, {MODE_LABELS[mode]}", justify="right")
    for kind, scores in next(iter(results.values()))["by_type"].items():
        gious = [_number(result["by_type"][kind]["giou"]) for result in results.values()]
        table.add_row(kind, str(scores["samples"]), *gious)
    return table


def no_target_table(results: dict[str, dict]) -> Table:
    """How often "there is no such thing" is said rightly, a row per mode; `results` are those of one data by mode."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("questions without target", min_width=LABEL_WIDTH)
    for name in ("questions", *NO_TARGET_LABELS.values()):
        table.add_column(name, justify="right")
    for mode, result in results.items():
        scores = result["no_target"]
        table.add_row(MODE_LABELS[mode], str(scores["samples"]), *(_number(scores[name]) for name in NO_TARGET_LABELS))
    return table


def _by_data(report: dict) -> dict[str, dict[str, dict]]:
    """data -> mode -> result, in the order of the report."""
    grouped: dict[str, dict[str, dict]] = {}
    for result in report["results"]:
        grouped.setdefault(result["data"], {})[result["mode"]] = result
    return grouped


def _cells(scores: dict | None) -> list[str]:
    """gIoU, its interval where there is one, cIoU and precisions; dashes where the data allows no score."""
    if scores is None:
        return ["-"] * 6
    low_high = scores.get("giou_ci95")
    interval = f"{low_high[0]:.3f}-{low_high[1]:.3f}" if low_high else ""
    precisions = [_number(scores[name]) for name in PRECISION_THRESHOLDS]
    return [_number(scores["giou"]), interval, _number(scores["ciou"]), *precisions]


def _number(value: float) -> str:
    return f"{value:.3f}"


def _git(checkout: Path, *arguments: str) -> str:
    command = ["git", "-C", str(checkout), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
