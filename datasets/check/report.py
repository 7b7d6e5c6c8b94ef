"""The diagnosis for a reader and for scripts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from datasets.check.doctor import Diagnosis
from datasets.check.problems import Problem, printable
from datasets.check.tally import Tally

SHOWN = 5
"""Problems of a kind that are printed one by one; the rest is a count."""
_COLUMNS = ("images", "samples", "sentences", "masks", "mean area", "empty", "no target", "ignored")


def print_report(console: Console, diagnosis: Diagnosis, *, everything: bool) -> None:
    """A table of what is there, the problems by kind, then the notes; a last line that sums up."""
    console.print(_table(diagnosis.rows))
    for title, style, problems in (("problem", "red", diagnosis.serious), ("note", "yellow", diagnosis.notes)):
        for (dataset, kind), group in _groups(problems).items():
            console.print()
            console.print(Text(f"{dataset}: {_count(len(group), title)}: {kind}", style=f"bold {style}"))
            for problem in group if everything else group[:SHOWN]:
                console.print(_lines(problem, diagnosis.root), soft_wrap=True)
            if not everything and len(group) > SHOWN:
                console.print(f"  ... and {len(group) - SHOWN} more of this kind (--all prints them)")
    console.print()
    console.print(summary(diagnosis))


def summary(diagnosis: Diagnosis) -> Text:
    """One line."""
    rows, bad, notes = (len(part) for part in (diagnosis.rows, diagnosis.serious, diagnosis.notes))
    verdict = _count(bad, "problem") if bad else "no problem"
    style = "bold red" if bad else "bold green"
    return Text(
        f"{verdict} found, {_count(notes, 'note')}, in {_count(rows, 'split')} of {diagnosis.root}", style=style
    )


def write_json(diagnosis: Diagnosis, path: Path) -> None:
    """The same for scripts: counts by split, problems and notes."""
    content = {
        "dataset_dir": str(diagnosis.root),
        "rows": {name: _counts(tally) for name, tally in diagnosis.rows.items()},
        "problems": [_record(problem) for problem in diagnosis.serious],
        "notes": [_record(problem) for problem in diagnosis.notes],
    }
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _table(rows: dict[str, Tally]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("split", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for name, tally in rows.items():
        counts = (tally.images, tally.samples, tally.sentences, tally.masks)
        shares = (
            _percent(tally.mean_area),
            _number(tally.empty),
            _number(tally.no_target),
            _percent(tally.ignore_share),
        )
        table.add_row(Text(printable(name)), *(_number(count) for count in counts), *shares)
    return table


def _counts(tally: Tally) -> dict:
    names = ("images", "samples", "sentences", "masks", "empty", "no_target", "mean_area", "ignore_share")
    return {name: getattr(tally, name) for name in names}


def _record(problem: Problem) -> dict:
    record = asdict(problem)
    del record["serious"]  # said by the list that it is in
    return record | {"file": str(problem.file)}


def _groups(problems: list[Problem]) -> dict[tuple[str, str], list[Problem]]:
    groups: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.dataset, problem.kind), []).append(problem)
    return groups


def _lines(problem: Problem, root: Path) -> Text:
    """File and record, what is wrong, and the mend."""
    place = ": ".join(filter(None, (_below(problem.file, root), problem.record)))
    text = Text(printable(f"  {place}: {problem.what}".replace(f"{root}/", "")))
    if problem.mend:
        text.append(printable(f"\n    -> {problem.mend}".replace(f"{root}/", "")), style="dim")
    return text


def _below(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path != root and path.is_relative_to(root) else str(path)


def _number(count: int) -> str:
    return f"{count:,}".replace(",", " ") if count else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
