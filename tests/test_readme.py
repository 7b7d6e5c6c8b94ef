"""Every command of the README is run; those that take long, where the table says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import chat
from eval import reason_seg, refcoco
from lisa.arguments import parse
from lisa.cli import main as lisa_command

CHECKOUT = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "python3 run.py train_ds.py": "tests/test_train_ds.py",
    "python3 run.py pytest": ".ci/run",
    "uv run app.py": "tests/browser/test_page.py",
}
"""Command -> the file that runs it."""


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (CHECKOUT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_every_command_of_the_readme_runs(world, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "docs").mkdir()
    for place in ("photos", "docs"):
        shutil.copy(CHECKOUT / "docs" / "example.jpg", tmp_path / place)
    (tmp_path / "prompts.txt").write_text("Please segment the boats in this image.\n")
    monkeypatch.chdir(tmp_path)
    short = ["--dataset_dir", str(world), "--limit", "2", "--no_blind", "--out", "report.json", "--mode", "generated"]
    seen = set()
    for line in commands():
        if line in ELSEWHERE:
            seen.add(line)
            assert (CHECKOUT / ELSEWHERE[line]).is_file()
            continue
        assert line.startswith("uv run "), line
        program, *words = shlex.split(line.removeprefix("uv run "))
        if program == "lisa":
            assert lisa_command.main(words) == 0
            assert list((tmp_path / "annotated").iterdir())
        elif program == "train_ds.py":
            # 14 GB and data that nobody has here: all that is missing is these two.
            with pytest.raises(ValueError, match=r"2 problems") as refusal:
                parse(words)
            for missing in ("--vision_pretrained sam_vit_h_4b8939.pth", "--version llava-hf/llava-1.5-7b-hf"):
                assert missing in str(refusal.value)
        else:
            mains = {"chat.py": chat.main, "eval/refcoco.py": refcoco.main, "eval/reason_seg.py": reason_seg.main}
            mains[program](words + (short if program.startswith("eval/") else []))
    assert seen == set(ELSEWHERE)


def test_run_py_is_uv_run(tmp_path):
    command = [sys.executable, str(CHECKOUT / "run.py"), "python", "-c", "import sys; sys.exit(len(sys.argv))", "a b"]
    environment = os.environ | {"UV_NO_SYNC": "1"}
    assert subprocess.run(command, cwd=CHECKOUT, env=environment, check=False).returncode == 2


def test_run_py_without_a_command_says_how_it_is_used():
    done = subprocess.run([sys.executable, str(CHECKOUT / "run.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("Give a command, as in: python3 run.py train_ds.py")
