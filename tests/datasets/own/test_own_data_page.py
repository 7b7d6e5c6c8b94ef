"""docs/own-data.md: its files are written and read, its commands are run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import train_ds
from datasets.own.__main__ import main as read_own
from eval.own import main as evaluate_own

PAGE = (Path(__file__).parents[3] / "docs/own-data.md").read_text(encoding="utf-8")
FILE = re.compile(r"`([\w/]+\.jsonl?)`[^\n]*(?:\n[^`\n]+)*\n\n```jsonl?\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^uv run (.*)$", re.MULTILINE)
SHORT = "--vision_steps 1 --grounding_steps 0 --epochs 1 --steps_per_epoch 1 --batch_size 1 --workers 0 --exp_name own"


@pytest.fixture
def page(tmp_path, monkeypatch, save_picture, save_mask) -> Path:
    """A folder with the files of the page, and the pictures that they speak of."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for name in ("photos/cow.jpg", "photos/barn.jpg", "farm/cow.jpg", "labelled/cow.jpg"):
        save_picture(Path(name), pixels)
    for name in ("door", "gate"):
        save_picture(Path(f"rust/images/{name}.jpg"), pixels)
        save_mask(Path(f"rust/masks/{name}.png"), (np.indices((480, 640))[0] // 160).astype(np.uint8))
    save_mask(Path("masks/roof.png"), np.tile(np.arange(640) < 160, (480, 1)))
    files = FILE.findall(PAGE)
    for name, text in files:
        Path(name).write_text(text, encoding="utf-8")
    assert [name for name, _ in files] == [
        "meadow.jsonl",
        "farm/instances.json",
        "labelled/cow.json",
        "rust/classes.json",
    ]
    return tmp_path


def test_the_files_of_the_page_hold_what_it_says(page, draw):
    cow, barn = draw("meadow.jsonl")
    areas = sorted(cow.masks.sum(axis=(1, 2)).tolist())
    assert areas == [24, pytest.approx(600, rel=0.05), 320 * 240]
    assert set(cow.names) == {"", "left horn", "right horn"}
    assert barn.masks.sum() == 160 * 480
    assert barn.ignore.sum() == 40 * 640
    (farm,) = draw("farm/instances.json")
    assert (farm.names, farm.masks.sum()) == (("cow",), 320 * 240)
    (labelled,) = draw("labelled|photos")
    assert set(labelled.names) == {"cow", "bell"}
    assert labelled.ignore.sum() == 41 * 640  # LabelMe draws the border
    assert [set(sample.names) for sample in draw("rust")] == [{"rust", "dent"}] * 2
    Path("rust/classes.json").unlink()
    assert [sample.names for sample in draw("rust")] == [("rust",)] * 2
    assert {int(sample.masks.sum()) for sample in draw("rust/masks|rust/images")} == {320 * 640}


def test_the_commands_of_the_page_run(page, capsys):
    check, train, evaluate = (shlex.split(command) for command in COMMAND.findall(PAGE))
    assert check[:3] == ["python", "-m", "datasets.own"]
    assert read_own(check[3:]) == 0
    assert "meadow.jsonl: 2 pictures, 4 conversations, 4 masks" in capsys.readouterr().out
    report = train_ds.main([*train[1:], *SHORT.split(), "--val_limit", "1", "--log_base_dir", "runs"])
    assert {result["data"] for result in report["results"]} == {"own|meadow.jsonl"}
    report = evaluate_own([*evaluate[1:], "--limit", "1", "--mode", "generated", "--out", "report.json"])
    assert [(result["data"], result["samples"]) for result in report["results"]] == [("own|meadow.jsonl", 3)]
