"""The report of an evaluation: which code and model, all results, as a file and as tables."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from eval.metrics import PRECISION_THRESHOLDS

CHECKOUT = Path(__file__).resolve().parents[1]

BASELINE_LABELS = {
    "blind": "model, question of another picture",
    "mean_mask": "mean training mask",
    "largest": "largest thing",
    "everything": "everything",
    "nothing": "nothing",
}
MODE_LABELS = {"teacher_forced": "model, teacher-forced", "generated": "model, generated"}


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
    inside = resolved.exists() and resolved.is_relative_to(CHECKOUT)  # a name on the hub does not exist
    return resolved.relative_to(CHECKOUT).as_posix() if inside else str(path)


def make_report(model: str, results: list[dict]) -> dict:
    """The report; `results` are those of `benchmark.evaluate`."""
    return {"model": model, "commit": code_commit(), "results": results}


def write_report(report: dict, path: Path) -> None:
    """Write the report as JSON in one step: a reader finds the old file or the whole new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(report, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def print_report(report: dict, console: Console | None = None) -> None:
    """Print the scores of the model and of the baselines, then the scores by kind of question."""
    console = console or Console()
    console.print(score_table(report))
    if any(result["by_type"] for result in report["results"]):
        console.print(type_table(report))


def score_table(report: dict) -> Table:
    """One section per data; in it a row per mode, then the baselines."""
    table = Table(box=SIMPLE_HEAD, title=f"{report['model']}  (commit {report['commit'][:12]})")
    table.add_column("")
    for name in ("gIoU", "95 %", "cIoU", *(f"P@{value}" for value in PRECISION_THRESHOLDS.values())):
        table.add_column(name, justify="right")
    for data, results in _by_data(report).items():
        table.add_section()
        first = next(iter(results.values()))
        table.add_row(f"[bold]{data}[/bold]  {first['images']} pictures, {first['samples']} questions")
        for mode, result in results.items():
            table.add_row(MODE_LABELS[mode], *_cells(result), style="bold green")
        for mode, result in results.items():
            label = f"  {BASELINE_LABELS['blind']}" + (f", {mode}" if len(results) > 1 else "")
            table.add_row(label, *_cells(result["baselines"]["blind"]), style="dim")
        for name in ("mean_mask", "largest", "everything", "nothing"):
            table.add_row(f"  {BASELINE_LABELS[name]}", *_cells(first["baselines"][name]), style="dim")
    return table


def type_table(report: dict) -> Table:
    """gIoU of each kind of question: a row per data and kind, a column per mode."""
    by_data = _by_data(report)
    modes = list(dict.fromkeys(mode for results in by_data.values() for mode in results))
    table = Table(box=SIMPLE_HEAD, title="gIoU by kind of question")
    for name in ("data", "kind"):
        table.add_column(name)
    for name in ("questions", *(MODE_LABELS[mode] for mode in modes)):
        table.add_column(name, justify="right")
    for data, results in by_data.items():
        table.add_section()
        for kind, scores in next(iter(results.values()))["by_type"].items():
            cells = [
                _number(results[mode]["by_type"][kind]["giou"]) if mode in results else "" for mode in modes
            ]
            table.add_row(data, kind, str(scores["samples"]), *cells)
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
