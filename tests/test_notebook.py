"""docs/notebook.ipynb runs from top to bottom, and says what it says in the docs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

CHECKOUT = Path(__file__).resolve().parents[1]


def said(notebook):
    """The text of every code cell's outputs."""
    return [
        "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_the_notebook_runs_and_its_answers_are_those_that_it_shows(tmp_path, example, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    shutil.copyfile(example, tmp_path / "example.jpg")
    kept = nbformat.read(CHECKOUT / "docs" / "notebook.ipynb", as_version=4)
    run = nbformat.read(CHECKOUT / "docs" / "notebook.ipynb", as_version=4)
    nbclient.NotebookClient(run, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert len(said(run)) >= 8
    assert said(run)[1] == said(kept)[1] == "Answer('Sure, the purple boat at the bottom [SEG].', 1 masks of 193 x 248)"
    pictures = [out for cell in run.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(pictures) == 2
    assert (tmp_path / "out" / "example_overlay.png").is_file()
