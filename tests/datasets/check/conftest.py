"""A tree of every official format that a test may damage, and the doctor's answer to it."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from datasets.check.__main__ import main


@dataclass(frozen=True)
class Verdict:
    """What the doctor said."""

    code: int
    rows: dict[str, dict]
    problems: list[dict]
    notes: list[dict]
    printed: str


@pytest.fixture
def diagnose(tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable[..., Verdict]:
    """Run the command on a folder, in this process."""

    def run(root: Path, *flags: str) -> Verdict:
        out = tmp_path / "verdict.json"
        code = 0
        try:
            main(["--dataset_dir", str(root), "--json", str(out), "--workers", "1", *flags])
        except SystemExit as stop:
            code = stop.code
        content = json.loads(out.read_text())
        return Verdict(code, content["rows"], content["problems"], content["notes"], capsys.readouterr().out)

    return run


class Tree:
    """A copy of the miniature tree."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __truediv__(self, relative: str) -> Path:
        return self.root / relative

    def edit_json(self, relative: str, change: Callable[[Any], Any]) -> None:
        """Change the content of a file in place, or to what `change` returns."""
        path = self.root / relative
        content = json.loads(path.read_bytes())
        changed = change(content)
        path.write_text(json.dumps(content if changed is None else changed))

    def edit_refs(self, relative: str, change: Callable[[list], Any]) -> None:
        """The same for a pickle."""
        path = self.root / relative
        content = pickle.loads(path.read_bytes())
        changed = change(content)
        path.write_bytes(pickle.dumps(content if changed is None else changed, protocol=2))


@pytest.fixture
def tree(tmp_path: Path, minidata: Path) -> Tree:
    """Every official format, and nothing wrong with it."""
    root = tmp_path / "dataset"
    shutil.copytree(minidata, root, copy_function=shutil.copyfile)
    return Tree(root)
