"""`python tests/parity.py` on the copy of the reference's outputs that comes with the tests."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import parity


def lines_of(folder: Path, capsys) -> tuple[int, list[str]]:
    status = parity.main([str(folder)])
    return status, capsys.readouterr().out.splitlines()


@pytest.fixture
def small_folder(lisa_a, tmp_path):
    """The checkpoint with the metrics only."""
    for name in ("tiny_lisa_A", "tiny_clip_A"):
        (tmp_path / name).symlink_to(lisa_a / name)
    (tmp_path / "golden").mkdir()
    for name in ("metrics.json", "metrics.safetensors"):
        shutil.copy(lisa_a / "golden" / name, tmp_path / "golden")
    return tmp_path


def test_our_model_gives_the_outputs_of_the_reference(lisa_a, capsys):
    status, lines = lines_of(lisa_a, capsys)
    assert not [line for line in lines if line.startswith("FAIL")]
    count, failed = re.fullmatch(r"(\d+) compared, (\d+) failed", lines[-1]).groups()
    assert int(count) > 700
    assert (status, failed) == (0, "0")
    text = "\n".join(lines)
    for name in (
        "train_mixed loss",
        "train_mixed grad norm",
        "pred_masks_1 packed signs",
        "step_logits",
        "there and back",
    ):
        assert name in text, name


def test_a_number_that_is_off_and_an_entry_that_nothing_knows_are_failures(small_folder, capsys):
    path = small_folder / "golden" / "metrics.json"
    content = json.loads(path.read_text())
    content["validate_all"]["giou"] += 2e-6
    content["news"] = 1
    path.write_text(json.dumps(content))
    (small_folder / "golden" / "stray.safetensors").write_bytes(b"")
    (small_folder / "golden" / "A_dream.json").write_text("{}")
    status, lines = lines_of(small_folder, capsys)
    failures = [line for line in lines if line.startswith("FAIL")]
    assert status == 1
    assert lines[-1].endswith(", 4 failed")
    for words in ("validate_all giou", "json news: unknown", "stray.safetensors file", "A_dream case: unknown kind"):
        assert any(words in line for line in failures), words


def test_a_folder_without_a_checkpoint_fails(tmp_path, capsys):
    status, lines = lines_of(tmp_path, capsys)
    assert (status, lines[-1]) == (1, "1 compared, 1 failed")
    assert parity.main([]) == 2
