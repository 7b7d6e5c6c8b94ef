"""The main job, run as a user runs it, on a small world and for a few steps."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import train_ds
from eval import refcoco
from lisa import load

CHECKOUT = Path(__file__).resolve().parents[1]
SHORT = [
    *(
        "--vision_steps",
        "1",
        "--grounding_steps",
        "1",
        "--epochs",
        "1",
        "--steps_per_epoch",
        "4",
        "--save_every",
        "2",
        "--batch_size",
        "2",
    ),
    *(
        "--num_classes_per_sample",
        "2",
        "--workers",
        "1",
        "--processes",
        "1",
        "--warmup_steps",
        "2",
        "--print_freq",
        "1",
    ),
]


def flags(world: Path, log_dir: Path, *more: str) -> list[str]:
    return ["--dataset_dir", str(world), "--log_base_dir", str(log_dir), *SHORT, *more]


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    """A run from start to end, with its validation."""
    log_dir = tmp_path_factory.mktemp("runs")
    report = train_ds.main(flags(world, log_dir, "--exp_name", "whole", "--val_limit", "2", "--precision", "fp32"))
    return report, log_dir / "whole"


def test_a_run_leaves_a_report_a_picture_and_a_model(finished):
    report, run = finished
    assert json.loads((run / "report.json").read_text()) == report
    assert report["precision"] == json.loads((run / "flags.json").read_text())["precision"] == "fp32"
    rows = {(row["data"], row["mode"]) for row in report["results"]}
    modes = ("teacher_forced", "generated")
    assert rows == {(data, mode) for data in ("refcoco|unc|val", "ReasonSeg|val") for mode in modes}
    assert (run / "predictions.png").read_bytes().startswith(b"\x89PNG")
    assert load(run / "model").model.config.seg_token_id > 0


def test_every_step_is_logged_under_its_true_number(finished):
    lines = [json.loads(line) for line in (finished[1] / "metrics.jsonl").read_text().splitlines()]
    steps = [(line["step"], line["stage"]) for line in lines if "loss" in line]
    assert steps == [(step, stage) for step, stage in enumerate(["vision", "grounding", *["answers"] * 4], start=1)]


def test_grounding_is_measured_on_held_out_pictures(finished):
    lines = [json.loads(line) for line in (finished[1] / "metrics.jsonl").read_text().splitlines()]
    measured = {line["stage"]: line["pointing"] for line in lines if "pointing" in line}
    assert measured.keys() == {"vision on refcoco|unc|val", "grounding on refcoco|unc|val"}
    assert all(0 <= share <= 1 for share in measured.values())


def test_the_last_two_checkpoints_are_kept(finished):
    assert sorted(path.name for path in (finished[1] / "checkpoints").iterdir()) == ["step_0000004", "step_0000006"]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_killed_run_resumes_to_the_same_weights(world, tmp_path, processes):
    # Both runs are processes of their own, with the same number of threads: sums depend on it in the last bit.
    script = [sys.executable, str(CHECKOUT / "train_ds.py")]
    common = ("--no_eval", "--precision", "fp32", "--processes", processes)
    unbroken = flags(world, tmp_path, "--exp_name", "unbroken", *common)
    subprocess.run([*script, *unbroken], cwd=tmp_path, check=True, capture_output=True)
    command = [*script, *flags(world, tmp_path, "--exp_name", "killed", *common)]
    checkpoints = tmp_path / "killed" / "checkpoints"
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 240
        while not list(checkpoints.glob("step_*[0-9]")):
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "killed" / "model").exists()
    subprocess.run([*command, "--resume"], cwd=tmp_path, check=True, capture_output=True)
    resumed = (tmp_path / "killed" / "model" / "model.safetensors").read_bytes()
    assert resumed == (tmp_path / "unbroken" / "model" / "model.safetensors").read_bytes()


def test_an_earlier_run_is_not_written_over(finished, world):
    with pytest.raises(ValueError, match="--resume continues it, --overwrite starts again"):
        train_ds.main(flags(world, finished[1].parent, "--exp_name", "whole"))


def test_resuming_with_other_flags_is_refused(finished, world):
    other = flags(world, finished[1].parent, "--exp_name", "whole", "--resume", "--seed", "5")
    with pytest.raises(ValueError, match="--seed 5 instead of 0"):
        train_ds.main(other)


def test_a_wrong_validation_set_is_refused_before_training(world, tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        train_ds.main(flags(world, tmp_path, "--val_dataset", "refcoco|unc|nowhere"))
    assert not (tmp_path / "tiny" / "metrics.jsonl").exists()


def test_all_official_data_sets_are_trained_on_by_their_names(world, tmp_path):
    named = {
        "--dataset": "sem_seg||refer_seg||vqa||reason_seg",
        "--sample_rates": "9,3,3,1",
        "--sem_seg_data": "ade20k||cocostuff||pascal_part||paco_lvis||mapillary",
        "--refer_seg_data": "refclef||refcoco||refcoco+||refcocog||grefcoco",
    }
    names = [word for pair in named.items() for word in pair]
    train_ds.main(flags(world, tmp_path, "--exp_name", "all", "--no_eval", *names))
    assert load(tmp_path / "all" / "model").model.config.seg_token_id > 0


def test_all_referring_data_sets_are_evaluated_in_one_call(world, tmp_path):
    specs = "refcoco|unc|testA,refcoco+|unc|val,refcocog|umd|test,grefcoco|unc|val"
    kept = ["--model", "tiny", "--dataset_dir", str(world), "--data", specs, "--out", str(tmp_path / "report.json")]
    report = refcoco.main([*kept, "--mode", "generated", "--limit", "2"])
    assert [result["data"] for result in report["results"]] == specs.split(",")
    assert [result["no_target"] is None for result in report["results"]] == [True, True, True, False]


def test_embeddings_of_sam_are_kept_for_the_next_run_and_for_evaluation(world, tmp_path):
    kept, frozen = tmp_path / "kept", "projector,language_model,embeddings,text_hidden_fcs,mask_decoder"
    train_ds.main(flags(world, tmp_path, "--cache_sam", str(kept), "--trainable", frozen, "--val_limit", "2"))
    files = {path: path.stat().st_mtime_ns for path in kept.rglob("*.safetensors")}
    assert files
    evaluation = ["--dataset_dir", str(world), "--data", "refcoco|unc|val", "--limit", "2", "--no_blind"]
    model = ["--model", str(tmp_path / "tiny" / "model"), "--cache_sam", str(kept)]
    first = refcoco.main([*evaluation, *model, "--out", str(tmp_path / "first.json")])
    plain = refcoco.main([*evaluation, *model[:2], "--out", str(tmp_path / "plain.json")])
    assert {path: path.stat().st_mtime_ns for path in files} == files  # nothing was encoded again
    for one, other in zip(first["results"], plain["results"], strict=True):
        assert one["giou"] == pytest.approx(other["giou"], abs=0.01)
