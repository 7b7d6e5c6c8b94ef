"""The comparison with the official loaders, on their miniature tree."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from datasets.outline import draw_outline

SCRIPT = "tests/formats.py"


def compare(folder):
    done = subprocess.run([sys.executable, SCRIPT, str(folder)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_every_record_is_the_official_one(minidata):
    code, lines = compare(minidata.parent)
    assert (code, lines[-1]) == (0, "121 compared, 0 failed"), [line for line in lines if "FAILED" in line]


def test_a_difference_is_seen_and_named(minidata, tmp_path):
    shutil.copytree(minidata.parent, tmp_path / "copy")
    (official,) = (tmp_path / "copy").glob("*official.json")
    content = json.loads(official.read_text())
    content["refer_seg"]["refcoco"]["items"][0]["conversations"][0] += "!"
    official.write_text(json.dumps(content))
    masks = tmp_path / "copy/minidata_official_masks.npz"
    arrays = dict(np.load(masks))
    arrays["ade20k/0"][0, 0, 0] ^= 1
    np.savez(masks, **arrays)
    code, lines = compare(tmp_path / "copy")
    failed = [line for line in lines if line.startswith("FAILED")]
    assert code == 1
    assert lines[-1] == "121 compared, 3 failed"  # a mask is held against both templates
    assert sum("ade20k" in line for line in failed) == 2
    assert sum("refcoco" in line for line in failed) == 1


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1, 1), (3, 1), (3, 2), (1, 2)], ["....", ".###", ".###"]),
        ([(1.9, 1.9)], ["....", ".#..", "...."]),
        ([(0, 0), (2, 1)], ["##..", "..#.", "...."]),  # a line rounds its middle down
        ([(0, 0), (3, 0), (2, 2), (0, 2)], ["####", "####", "###."]),  # a row's right end is rounded up
    ],
)
def test_outlines_are_drawn_as_opencv_4_did(points, expected):
    drawn = draw_outline(np.array(points, float), 3, 4)
    assert ["".join(".#"[value] for value in row) for row in drawn.astype(int)] == expected
