"""A picture of 8 px height and 6 width, and the means to annotate it wrongly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.own import open_own
from datasets.sample import Sample, SampleOptions

Save = Callable[..., Path]


@pytest.fixture
def picture(tmp_path: Path, save_picture: Save) -> Path:
    """a.png, 8 px high and 6 wide."""
    return save_picture(tmp_path / "a.png", np.zeros((8, 6, 3), np.uint8))


@pytest.fixture
def save_mask() -> Save:
    """Write an array as PNG."""

    def save(path: Path, mask: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
        return path

    return save


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., Path]:
    """Write my.jsonl, one line per record; texts as they are."""

    def write(*records: object) -> Path:
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        path = tmp_path / "my.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def draw() -> Callable[..., list[Sample]]:
    """Every picture of a source once, all that is asked about it."""

    def samples(source: object, most: int = 99) -> list[Sample]:
        data = open_own(Path("unused"), str(source), SampleOptions(num_classes_per_sample=most))
        return [data.sample(index, np.random.default_rng(index)) for index in range(len(data))]

    return samples


@pytest.fixture
def rows() -> Callable[[np.ndarray], list[str]]:
    """A mask as one text per row, "x" where it is true."""
    return lambda mask: ["".join("x" if pixel else "." for pixel in row) for row in mask]
