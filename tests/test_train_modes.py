"""Each mode of train_ds.py on one process, on two of --processes, and on two that a launcher started."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import fields
from pathlib import Path

import pytest

from lisa.arguments import TrainArgs
from lisa.resume_flags import FIXED, FREE, GLOBAL_BATCH, PRECISION, SCHEDULE
from lisa.run_lock import run_lock
from tests.training_runs import SHORT, Run, make_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def stopped(inputs, tmp_path_factory):
    """A run of one process that SIGTERM stopped in step 3 of 6, and what it told."""
    folder = tmp_path_factory.mktemp("stopped")
    run = Run(SHORT | inputs | {"log_base_dir": str(folder), "no_eval": "", "save_every": "100"}, folder / "log.txt")
    run.until("step 2/6")
    run.kill(signal.SIGTERM)
    return folder, run.wait(), run.output()


@pytest.fixture
def again(stopped, inputs, tmp_path):
    """Goes on with a copy of the stopped run: flags -> exit codes, output, folder."""

    def go_on(ranks=1, prepare="", **flags):
        folder = shutil.copytree(stopped[0], tmp_path / "copy")
        common = {"log_base_dir": str(folder), "no_eval": "", "resume": ""}
        run = Run(SHORT | inputs | common | flags, tmp_path / "log.txt", ranks, prepare)
        return run.wait(), run.output(), folder / "run"

    return go_on


def logged(run_dir) -> list[int]:
    return [json.loads(line)["step"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("ranks", "processes"), [(1, "1"), (1, "2"), (2, "1")], ids=["one", "processes", "launcher"])
def test_every_mode_ends_well(inputs, tmp_path, ranks, processes):
    """Train, go on for another epoch, train without validation, validate only."""
    common = SHORT | inputs | {"log_base_dir": str(tmp_path), "processes": processes, "steps_per_epoch": "2"}

    def run(**flags):
        it = Run(common | flags, tmp_path / "log.txt", ranks)
        assert it.wait() == [0] * ranks, it.output()
        assert "Traceback" not in it.output()
        return it.output()

    told = run()
    # One whole line for each step and mode, by the first process alone.
    assert [line.split(" · ")[:2] for line in told.splitlines() if line.startswith("step ")] == [
        ["step 1/2", "answers"],
        ["step 2/2", "answers"],
    ]
    assert told.count("teacher-forced: 6/6") == told.count("generated: 6/6") == 1
    assert {"model", "report.json", "predictions.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    run(resume="", epochs="2", no_eval="")
    assert logged(tmp_path / "run") == [1, 2, 3, 4]
    model = {"version": str(tmp_path / "run" / "model"), "exp_name": "scored", "eval_only": ""}
    assert run(**model).count("generated: 6/6") == 1
    assert (tmp_path / "scored" / "report.json").exists()
    assert not (tmp_path / "scored" / "flags.json").exists()


def test_a_signal_ends_a_run_with_a_checkpoint_and_a_code_of_its_own(stopped, again):
    folder, codes, told = stopped
    assert codes == [75]
    assert "SIGTERM: the run stops after this step" in told
    assert "stopped by a signal at step 3 of 6" in told
    assert "the same command with --resume goes on" in told
    assert [path.name for path in (folder / "run" / "checkpoints").iterdir()] == ["step_0000003"]
    codes, told, run_dir = again()
    assert (codes, logged(run_dir)) == ([0], [1, 2, 3, 4, 5, 6]), told


def test_a_second_signal_ends_it_at_once(inputs, tmp_path):
    flags = {"log_base_dir": str(tmp_path), "no_eval": "", "steps_per_epoch": "9", "grad_accumulation_steps": "100"}
    run = Run(SHORT | inputs | flags, tmp_path / "log.txt")
    run.until("step 1/9")
    run.kill(signal.SIGINT)
    run.until("SIGINT: the run stops after this step")
    run.processes[0].join(1.2)
    run.kill(signal.SIGINT)
    assert run.wait() == [-signal.SIGINT]
    assert "Traceback" not in run.output()


def test_every_flag_is_classified():
    tables = [*FREE, *SCHEDULE, *GLOBAL_BATCH, *PRECISION, *FIXED]
    assert sorted(tables) == sorted(field.name for field in fields(TrainArgs))


def test_a_changed_rate_holds_after_resume(again):
    codes, told, run_dir = again(lr="1e-6", warmup_steps="1", save_every="1", save_dtype="fp16")
    assert codes == [0], told
    assert "--lr 1e-06 instead of 0.001" in told
    rates = [json.loads(line)["lr"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert max(rates[3:]) <= 1e-6 < rates[2]


@pytest.mark.parametrize(
    ("ranks", "flags", "sentence"),
    [
        (1, {"seed": "1"}, "with the flags it began with, but --seed 1 instead of 0"),
        (1, {"batch_size": "3"}, "would see 3, which are other samples: give --processes, --batch_size and"),
        (1, {"batch_size": "1"}, "would see 1, which are other samples: give --grad_accumulation_steps 2"),
        (2, {}, "was made by 1 process, with 2 images a step, and 2 processes"),
        (1, {"steps_per_epoch": "9"}, "--steps_per_epoch 9 instead of 6"),
        (1, {"precision": "bf16", "zero_stage": "1"}, "--zero_stage 1 instead of 0"),
    ],
)
def test_what_would_be_another_run_is_refused_with_the_mend(again, ranks, flags, sentence):
    codes, told, _ = again(ranks, **flags)
    assert codes == [2] * ranks
    assert told.count("error: ") == 1
    assert sentence in told
    assert "Traceback" not in told


def test_more_processes_with_smaller_batches_go_on_over_the_same_samples(again):
    codes, told, run_dir = again(2, batch_size="1")
    assert (codes, logged(run_dir)) == ([0, 0], [1, 2, 3, 4, 5, 6]), told


def test_a_full_disk_is_told_and_the_checkpoint_stays(again):
    codes, told, run_dir = again(prepare="small_files_only")
    assert codes == [2], told
    assert "Traceback" not in told
    assert "could not be written" in told
    assert "--resume goes on from them" in told
    assert "step_0000003" in [path.name for path in (run_dir / "checkpoints").iterdir()]


def test_two_runs_in_one_folder_are_refused(inputs, tmp_path):
    with run_lock(tmp_path / "run"):
        run = Run(SHORT | inputs | {"log_base_dir": str(tmp_path), "no_eval": ""}, tmp_path / "log.txt")
        assert run.wait() == [2]
    assert "is in use by another run (process" in run.output()


def test_a_folder_that_cannot_be_written_to_is_told_at_the_start(inputs, tmp_path):
    run = Run(SHORT | inputs | {"log_base_dir": "/proc/nowhere"}, tmp_path / "log.txt", ranks=2)
    assert run.wait() == [2, 2]
    assert run.output().count("error: ") == 1, run.output()
    assert "the folder of the run, /proc/nowhere/run, cannot be written to" in run.output()


def test_a_validation_set_that_cannot_be_read_is_told_at_the_start(tmp_path):
    from datasets.validation import open_validation
    from eval.readable import check_readable

    source = Path(__file__).parent / "goldens" / "minidata" / "dataset" / "reason_seg"
    shutil.copytree(source, tmp_path / "reason_seg")
    opened = open_validation(tmp_path, "ReasonSeg|val")  # it looks at the images' heads only
    check_readable(opened)
    for name in ("2001_ddd_o.jpg", "2003_fff_o.jpg"):
        path = tmp_path / "reason_seg" / "ReasonSeg" / "val" / name
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"2 of 3 images .*ReasonSeg\|val cannot be read: .*2001_ddd_o.*2003_fff_o"):
        check_readable(opened)
    check_readable(opened, limit=0)


def test_processes_that_do_not_see_one_disk_are_refused(inputs, tmp_path):
    flags = SHORT | inputs | {"log_base_dir": "relative", "no_eval": ""}
    run = Run(flags, tmp_path / "log.txt", ranks=2, prepare="folder_of_its_own")
    assert run.wait() == [2, 2]
    assert "must be on a disk that all machines share" in run.output()
    assert run.output().count("error: ") == 1


def test_an_error_in_one_process_ends_all_with_one_sentence(inputs, tmp_path):
    flags = SHORT | inputs | {"log_base_dir": str(tmp_path), "no_eval": "", "steps_per_epoch": "50"}
    run = Run(flags, tmp_path / "log.txt", ranks=2, prepare="second_fails_at_sample_20")
    assert run.wait() == [2, 2]
    assert run.output().count("error: ") == 1, run.output()
    assert "error: sample 20 cannot be read" in run.output()
    assert "Traceback" not in run.output()


def test_a_process_that_is_killed_ends_the_others_with_a_sentence(inputs, tmp_path):
    flags = SHORT | inputs | {"log_base_dir": str(tmp_path), "no_eval": "", "steps_per_epoch": "50"}
    run = Run(flags, tmp_path / "log.txt", ranks=2)
    run.until("step 2/")
    run.kill(signal.SIGKILL, 1)
    assert run.wait() == [2, -signal.SIGKILL]
    assert "process 0 of 2 lost its connection to the others" in run.output()
    assert "Traceback" not in run.output()
