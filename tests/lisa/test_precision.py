"""--precision auto: measured on this device, kept by a resumed run, the same in all processes."""

import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from bench.report import environment
from lisa.arguments import TINY
from lisa.environment import cpu_units, examine
from lisa.precision import Products, agree_on_precision, measure_products, precision_for, resolve_precision
from lisa.train_checks import flag_problems

CHECKOUT = Path(__file__).resolve().parents[2]
MEASURE = "from lisa.precision import measure_products as m; print(m('cpu').bf16_speed)"


def test_auto_is_what_flags_and_presets_begin_with():
    assert TINY.precision == type(TINY)().precision == "auto"


@pytest.mark.parametrize(
    ("speed", "optimizer", "precision"),
    [
        (2.5, "muon", "bf16_mixed"),
        (2.5, "adamw", "bf16"),
        (1.05, "muon", "fp32"),
        (0.2, "muon", "fp32"),
        (0.2, "adamw", "fp32"),
    ],
)
def test_bf16_is_taken_where_its_products_are_clearly_faster(speed, optimizer, precision):
    products = Products(device="cpu", bf16_speed=speed)
    assert precision_for(products, optimizer) == precision
    assert flag_problems(replace(TINY, optimizer=optimizer, precision=precision)) == []


def test_a_processor_without_units_for_bf16_is_found_to_multiply_it_slower():
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) > 0
    if platform.machine() in ("x86_64", "AMD64"):
        assert float(done.stdout) < 0.8


def test_the_choice_is_told_and_the_number_of_threads_stays(tmp_path, capsys):
    threads = torch.get_num_threads()
    args = resolve_precision(replace(TINY, log_base_dir=tmp_path))
    assert torch.get_num_threads() == threads
    assert args.precision in ("fp32", "bf16_mixed")
    said = capsys.readouterr().out
    assert said.startswith(f"precision {args.precision} (the ")
    assert "multiplies bf16" in said


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "bf16_mixed"])
def test_a_precision_that_was_asked_for_is_not_measured(precision, capsys):
    asked = replace(TINY, precision=precision)
    assert resolve_precision(asked) is asked
    assert capsys.readouterr().out == ""


def test_a_resumed_run_keeps_the_precision_that_it_began_with(tmp_path, capsys):
    args = replace(TINY, log_base_dir=tmp_path, resume=True)
    args.run_dir.mkdir()
    flags = args.run_dir / "flags.json"
    for precision in ("fp32", "bf16_mixed"):
        flags.write_text(json.dumps({"precision": precision}))
        assert resolve_precision(args).precision == precision
    said = capsys.readouterr().out
    assert said.count("the run began with it, --precision auto would choose") == 1  # one of both is chosen here too
    flags.write_text("{damaged")  # prepare_run_dir tells of it
    assert resolve_precision(args).precision in ("fp32", "bf16_mixed")


def test_the_doctor_and_the_benchmarks_tell_how_this_processor_multiplies():
    found = examine()
    assert re.search(
        r"multiplies bf16 \d+\.\d times as (fast|slow) as fp32: --precision auto is \w", found["precision"]
    )
    units = ", ".join(cpu_units())
    assert units
    assert units in found["devices"][-1]["description"]
    assert torch.cuda.is_available() or units in environment()["device"]


def test_the_measurement_is_short():
    measure_products("cpu")  # the first one loads kernels
    started = time.thread_time()
    measure_products("cpu")
    assert time.thread_time() - started < 0.5


def _agree(rank, store, results):
    dist.init_process_group("gloo", store=dist.FileStore(str(store), 2), rank=rank, world_size=2)
    args = replace(TINY, precision="fp16" if rank == 0 else "auto")
    (results / str(rank)).write_text(agree_on_precision(args).precision)
    dist.destroy_process_group()


def test_all_processes_take_the_precision_of_the_first(tmp_path):
    torch.multiprocessing.spawn(_agree, (tmp_path / "store", tmp_path), nprocs=2)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["fp16", "fp16"]
