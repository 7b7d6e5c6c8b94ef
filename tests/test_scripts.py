"""The scripts start from any folder, whatever else is called `datasets`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import datasets

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPTS = ["train_ds.py", "chat.py", "eval/refcoco.py", "eval/reason_seg.py", "eval/own.py"]


@pytest.fixture
def foreign_datasets(tmp_path):
    """A folder with another package `datasets`, as Hugging Face's would be."""
    package = tmp_path / "site" / "datasets"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('the other datasets package was imported')\n")
    return tmp_path / "site"


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_tell_their_flags_from_any_folder(script, foreign_datasets, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(foreign_datasets)}
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / script), "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_flag_is_an_argument_error(script, tmp_path):
    command = [sys.executable, str(CHECKOUT / script), "--no-such-flag"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_package_datasets_is_ours():
    assert Path(datasets.__file__).parent == CHECKOUT / "datasets"
