"""What a run's folder refuses, who holds it, what it tells, and when there is no room for it."""

import errno
import io
import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace

import pytest
from rich.console import Console
from torch import nn

from lisa import progress
from lisa.arguments import TrainArgs
from lisa.disk_space import check_disk_space, checkpoint_bytes, model_bytes
from lisa.progress import LineProgress, duration
from lisa.resume_flags import type_of_weights
from lisa.run_checkpoint import RunState
from lisa.run_dir import check_run_dir, check_state, flags_as_text
from lisa.run_lock import run_lock
from lisa.run_log import RunLog, StepProgress
from lisa.whole_file import told_if_full

ARGS = TrainArgs(batch_size=2, grad_accumulation_steps=6, zero_stage=0, epochs=1, steps_per_epoch=10)


def made(args=ARGS, world=1, step=5):
    return RunState(step=step, world=world, flags=flags_as_text(args))


@pytest.mark.parametrize(
    ("changes", "made_by", "now", "sentence"),
    [
        ({}, 2, 1, "24 images a step, and 1 process .* would see 12, .* give --grad_accumulation_steps 12$"),
        ({}, 1, 2, "12 images a step, and 2 processes .* would see 24, .* give --grad_accumulation_steps 3$"),
        ({"batch_size": 7}, 1, 1, "give --processes, --batch_size and --grad_accumulation_steps whose product is 12"),
        ({"zero_stage": 1}, 2, 1, "made by 2 processes with --zero_stage 1, .* now there is 1: start 2 processes"),
        ({"zero_stage": 2}, 1, 4, "made by 1 process with --zero_stage 2, .* now there are 4: start 1 process "),
        ({"steps_per_epoch": 4}, 1, 1, "would end at step 4: give more --epochs"),
    ],
)
def test_a_checkpoint_of_another_world_is_refused_with_the_mend(changes, made_by, now, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_state(replace(ARGS, **changes), made(world=made_by), now)


@pytest.mark.parametrize(
    ("changes", "now"),
    [({}, 1), ({"grad_accumulation_steps": 3}, 2), ({"batch_size": 4, "grad_accumulation_steps": 3}, 1)],
)
def test_the_same_images_in_a_step_are_taken(changes, now):
    check_state(replace(ARGS, **changes), made(), now)


def test_precisions_with_the_same_weights_are_one():
    assert len({type_of_weights(name) for name in ("fp32", "bf16_mixed", "auto")}) == 1
    assert len({type_of_weights(name) for name in ("fp32", "bf16", "fp16")}) == 3


@pytest.mark.parametrize("damaged", ["", "[]", '{"lr": ', "\0"])
def test_flags_that_cannot_be_read_without_a_copy_are_told(tmp_path, damaged):
    args = replace(ARGS, log_base_dir=tmp_path, resume=True)
    args.run_dir.mkdir()
    (args.run_dir / "flags.json").write_text(damaged)
    with pytest.raises(ValueError, match=r"flags.json is damaged or missing, and no checkpoint holds a copy"):
        check_run_dir(args)


def hold(folder, ready):
    with run_lock(folder):
        ready.set()
        signal.pause()


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=hold, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(60)
    with (
        pytest.raises(ValueError, match=f"in use by another run .process {holder.pid} on .*, since"),
        run_lock(tmp_path),
    ):
        pass
    holder.kill()
    holder.join()
    with run_lock(tmp_path), pytest.raises(ValueError, match="by this very process"), run_lock(tmp_path):
        pass
    with run_lock(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()


def test_room_for_the_checkpoints_and_the_model_is_asked_for(tmp_path):
    model, args = nn.Linear(1000, 1000), replace(ARGS, log_base_dir=tmp_path, precision="fp32", save_dtype="fp16")
    args.run_dir.mkdir()
    assert checkpoint_bytes(model, args) == 1_001_000 * 12
    assert model_bytes(model, args) == 1_001_000 * 2
    check_disk_space(model, args)
    free = shutil.disk_usage(tmp_path).free
    huge = nn.Linear(free // 12 // 1000, 1000, device="meta")
    with pytest.raises(
        OSError, match=r"needs about .* GiB \(3 checkpoints of .* are free there: free space, or choose"
    ):
        check_disk_space(huge, args)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_sentence(tmp_path, number):
    sentence = r"model could not be written \(.*GiB are free there\); free space"
    with pytest.raises(OSError, match=sentence), told_if_full(tmp_path / "a" / "model", "free space"):
        raise OSError(number, os.strerror(number))


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(OSError, match="other") as raised, told_if_full(tmp_path, "free space"):
        raise OSError(errno.EIO, "other")
    assert raised.value.errno == errno.EIO


def test_progress_without_a_terminal_is_plain_whole_lines(monkeypatch):
    out = io.StringIO()
    name = "a name that is much longer than the eighty columns that a log without a terminal is taken to have, " * 2
    with LineProgress(console=Console(file=out), disable=True) as lines:
        task = lines.add_task(name, total=40)
        for _ in range(40):
            lines.advance(task)
    told = out.getvalue().splitlines()
    assert len(told) == 11  # the start and each tenth
    assert all(line.startswith(f"{name}: {4 * tenth}/40") for tenth, line in enumerate(told))
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with LineProgress(console=Console(file=out), disable=True) as lines:
        task = lines.add_task("slow", total=1000)
        lines.advance(task)
    assert out.getvalue().splitlines()[-1].startswith("slow: 1/1000")


def test_steps_without_a_terminal_are_plain_whole_lines(capsys):
    with StepProgress("answers", 10, 20, 3611, 8, quiet=False) as steps:
        steps.advance()
        terms = {f"a_long_name_of_a_term_{k}": 0.5 for k in range(5)}
        steps.tell(terms | {"lr": 1e-3, "images_per_second": 8.0})
    line = "step 11/3611 · answers · " + " ".join(f"{name} 0.500" for name in terms)
    assert capsys.readouterr().out == f"{line} · lr 1.0e-03 · 8.0 images/s · 1:00:00 left\n"


def test_hours_minutes_and_seconds():
    assert [duration(s) for s in (0, 59.6, 3599, 90061)] == ["0:00:00", "0:01:00", "0:59:59", "25:01:01"]


def test_a_damaged_log_is_copied_and_what_can_be_read_stays(tmp_path, capsys):
    pytest.importorskip("tensorboard")
    path, lines = (
        tmp_path / "metrics.jsonl",
        [b'{"step": 1, "stage": "answers"}', b"\xff\x00", b"[]", b'{"step": "x"}', b'{"step": 9}'],
    )
    path.write_bytes(b"\n".join(lines) + b"\n" + b'{"step": 2, "cut o')
    RunLog(tmp_path, 5)
    assert path.read_bytes() == lines[0] + b"\n"
    assert lines[1] in (tmp_path / "metrics.jsonl.damaged").read_bytes()
    assert "3 lines of" in capsys.readouterr().out
