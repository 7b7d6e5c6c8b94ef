"""The script for a machine with a GPU, on the CPU and in small: every step ends well and leaves its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def test_every_step_ends_well_and_writes_what_it_measured(world, tmp_path):
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LISA_GPU_SH_FLAGS": f"--dataset_dir {world} --log_base_dir {tmp_path / 'runs'}",
    }
    command = ["bash", str(CHECKOUT / "bench" / "gpu.sh"), "-", str(tmp_path), "cpu"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    steps = [line.partition(":")[0] for line in (tmp_path / "summary.txt").read_text().splitlines()]
    assert steps == ["tests", "main_job", "fine_tune", "train_step", "generate", "evaluate", "sam"]
    for figures in ("train_step", "generate", "evaluate", "sam"):
        assert json.loads((tmp_path / f"{figures}.json").read_text())["rows"]
