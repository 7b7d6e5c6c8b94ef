"""`python eval/refcoco.py` and `python eval/reason_seg.py`: flags, refusals, report."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from eval import cli, reason_seg, refcoco
from eval.report import CHECKOUT
from lisa.cli.exits import exit_with_sentence


@pytest.fixture
def stage(toy, kept_lisa, tmp_path, monkeypatch):
    """The toy data and model in place of the real ones; what is opened or loaded is written down."""
    toy.opened, toy.loaded = [], []
    toy.dataset_dir = tmp_path / "data"
    for folder in ("refer_seg/refcoco", "refer_seg/refcoco+", "reason_seg/ReasonSeg/val", "reason_seg/ReasonSeg/test"):
        (toy.dataset_dir / folder).mkdir(parents=True)
    toy.predictor.processor = kept_lisa.predictor.processor

    def open_validation(dataset_dir, spec):
        toy.opened.append((dataset_dir, spec))
        return toy.validation_set

    def find_model(model):
        if model == "lost-model":
            raise FileNotFoundError("no model folder at lost-model")
        return Path(model)

    def load(model, device="auto", dtype="auto"):
        toy.loaded.append((model, device))
        return toy.predictor

    validation = ModuleType("datasets.validation")
    validation.open_validation = open_validation
    monkeypatch.setitem(sys.modules, "datasets.validation", validation)
    monkeypatch.setattr("lisa.checkpoint.find_model", find_model)
    monkeypatch.setattr("lisa.checkpoint.load", load)
    monkeypatch.chdir(tmp_path)
    return toy


def arguments(stage, *more: str) -> list[str]:
    return ["--model", "toy-model", "--dataset_dir", str(stage.dataset_dir), *more]


def test_a_run_writes_the_report_that_it_returns(stage, tmp_path):
    report = refcoco.main(
        arguments(stage, "--data", "refcoco|unc|val", "refcoco|unc|testA", "--out", "deep/down/r.json")
    )
    assert json.loads((tmp_path / "deep/down/r.json").read_text()) == report
    assert report["model"] == "toy-model"
    assert [result["mode"] for result in report["results"]] == ["teacher_forced", "generated"] * 2
    assert [(tree.root, spec) for tree, spec in stage.opened] == [
        (stage.dataset_dir, "refcoco|unc|val"),
        (stage.dataset_dir, "refcoco|unc|testA"),
    ]


def test_several_splits_may_be_joined_by_commas(stage):
    refcoco.main(arguments(stage, "--data", "refcoco|unc|val,refcoco|unc|testA", "refcoco+|unc|val"))
    assert [spec for _, spec in stage.opened] == ["refcoco|unc|val", "refcoco|unc|testA", "refcoco+|unc|val"]
    assert stage.loaded == [(Path("toy-model"), "auto")]


def test_each_script_has_its_own_splits(stage):
    refcoco.main(arguments(stage, "--limit", "1", "--mode", "generated"))
    assert [spec for _, spec in stage.opened] == [
        "refcoco|unc|val",
        "refcoco|unc|testA",
        "refcoco|unc|testB",
        "refcoco|unc|composition",
    ]
    stage.opened.clear()
    reason_seg.main(arguments(stage, "--limit", "1", "--mode", "generated"))
    assert [spec for _, spec in stage.opened] == ["ReasonSeg|val"]


@pytest.mark.parametrize("mode", ["teacher_forced", "generated"])
def test_one_mode_may_be_asked_for(stage, mode):
    report = reason_seg.main(arguments(stage, "--mode", mode))
    assert [result["mode"] for result in report["results"]] == [mode]


def test_flags_reach_the_evaluation_with_hyphens_too(stage):
    report = reason_seg.main(
        arguments(stage, "--batch-size", "1", "--limit", "2", "--no-blind", "--mode", "generated", "--device", "cpu")
    )
    (result,) = report["results"]
    assert (result["images"], result["images_in_data"]) == (2, 3)
    assert result["baselines"]["blind"] is None
    assert [numbers for _, numbers, _ in stage.predictor.calls] == [[1], [2]]
    assert stage.loaded == [(Path("toy-model"), "cpu")]


def test_predictions_of_all_splits_and_modes_are_saved(stage, tmp_path):
    refcoco.main(arguments(stage, "--data", "ReasonSeg|val", "ReasonSeg|test", "--save_predictions", "preds.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "preds.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * 2 * 5
    assert [line["mode"] for line in lines[:10]] == ["teacher_forced"] * 5 + ["generated"] * 5


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--batch_size", "0"], "--batch_size 0: it must be at least 1"),
        (["--limit", "0"], "--limit 0: it must be at least 1"),
        (["--limit", "-3"], "--limit -3"),
        (["--seed", "-1"], "--seed -1: it must be from 0"),
        (["--data"], "--data is empty"),
        (["--data", "ReasonSeg|val", "ReasonSeg|val"], "--data names a split twice: ReasonSeg|val, ReasonSeg|val"),
        (
            ["--data", "ReasonSeg|val", "nonsense"],
            "--data 'nonsense': is no validation set; write it as in refcoco|unc|val",
        ),
        (["--data", "refcoc|unc|val"], "no dataset of the refer format is called 'refcoc'"),
        (["--data", "ReasonSeg|train"], "ReasonSeg/train: not found"),
        (["--data", "own|gone.jsonl"], "gone.jsonl: not found"),
        (["--device", "abacus"], "--device 'abacus'"),
        (["--out", "."], "is a folder; name a file"),
        (["--save_predictions", "."], "is a folder; name a file"),
        (["--out", "a.json", "--save_predictions", "./a.json"], "are the same file: a.json"),
        (["--dataset_dir", "not/there"], "--dataset_dir not/there: there is no such folder"),
    ],
)
def test_what_can_be_refused_is_refused_before_the_model_is_loaded(stage, flags, sentence):
    with pytest.raises((ValueError, FileNotFoundError)) as refusal:
        refcoco.main(arguments(stage, *flags))
    assert sentence in str(refusal.value)
    assert stage.loaded == []


@pytest.mark.parametrize("flags", [["--mode", "guessed"], ["--batch_size", "many"], ["--no_such_flag"]])
def test_flags_that_do_not_parse_end_with_exit_code_2(stage, flags, capsys):
    with pytest.raises(SystemExit) as stop:
        refcoco.main(arguments(stage, *flags))
    assert stop.value.code == 2
    assert stage.loaded == []


def test_a_missing_model_is_refused_before_any_data_is_opened(stage):
    with pytest.raises(ValueError, match="no model folder at lost-model"):
        refcoco.main(["--model", "lost-model", "--dataset_dir", str(stage.dataset_dir)])
    assert stage.opened == []


def test_all_that_is_wrong_is_told_at_once(stage):
    wrong = ["--model", "lost-model", "--dataset_dir", "gone", "--limit", "0", "--data", "own|gone.jsonl"]
    with pytest.raises(ValueError, match=r"(?s)4 problems.*--limit 0.*gone: there is no such.*gone.jsonl.*lost-model"):
        refcoco.main(wrong)


def test_the_default_world_is_rendered_or_checked_each_time(stage, tmp_path, monkeypatch):
    rendered = []

    def render_world(out, images, seed):
        rendered.append((out, images, seed))
        out.mkdir(exist_ok=True)
        (out / "world.json").write_text("{}")

    synthetic = ModuleType("datasets.synthetic")
    synthetic.render_world = render_world
    monkeypatch.setitem(sys.modules, "datasets.synthetic", synthetic)
    world = tmp_path / "synthetic"
    monkeypatch.setattr(cli, "DEFAULT_DATASET_DIR", world)
    for _ in range(2):
        reason_seg.main(["--model", "toy-model", "--dataset_dir", str(world), "--limit", "1"])
    # render_world leaves a whole world as it is, and refuses one of an older version.
    assert rendered == [(world, 3000, 0)] * 2


def test_what_the_user_can_mend_ends_in_one_line_and_exit_code_2(capsys):
    def fail():
        raise FileNotFoundError("the file is gone")

    with pytest.raises(SystemExit) as stop:
        exit_with_sentence(fail)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: the file is gone\n"


def test_our_own_mistakes_keep_their_trace():
    def fail():
        raise KeyError("bug")

    with pytest.raises(KeyError):
        exit_with_sentence(fail)


@pytest.mark.parametrize("script", ["refcoco", "reason_seg"])
def test_a_script_runs_from_any_folder(script, tmp_path):
    command = [sys.executable, str(CHECKOUT / "eval" / f"{script}.py"), "--limit", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --limit 0")
    assert "Traceback" not in done.stderr
