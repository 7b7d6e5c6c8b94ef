"""Names of data on a command line, looked up before anything is read."""

from dataclasses import replace
from pathlib import Path

import pytest

import train_ds
from datasets.names import training_problems
from lisa.arguments import TINY, TrainArgs

WORLD = Path("not/rendered/yet")


@pytest.fixture
def args(minidata):
    return TrainArgs(dataset_dir=minidata, refer_seg_data="refclef||refcoco||refcoco+||refcocog||grefcoco")


def test_a_tree_of_every_official_format_has_no_problem(args):
    assert training_problems(args, WORLD) == []


def test_the_preset_has_no_problem_before_its_world_is_rendered():
    assert training_problems(replace(TINY, dataset_dir=WORLD), WORLD) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"dataset": "foo||vqa", "sample_rates": "1,1"},
            "--dataset: no family of datasets is called 'foo'; known: sem",
        ),
        ({"dataset": "vqa||vqa", "sample_rates": "1,1"}, "--dataset names a family twice: vqa||vqa"),
        ({"sample_rates": "9,3"}, "--sample_rates has 2 numbers for 4 families"),
        ({"sample_rates": "9,3,x,1"}, "--sample_rates is '9,3,x,1'"),
        ({"sample_rates": "9,3,-3,1"}, "must not be negative"),
        ({"sample_rates": "0,0,0,0"}, "not all zero"),
        ({"sample_rates": "nan,1,1,1"}, "must not be negative"),
        ({"sem_seg_data": "ade20k||ade21k"}, "--sem_seg_data: no dataset of the sem_seg family is called 'ade21k'"),
        ({"refer_seg_data": "refcoc"}, "--refer_seg_data: no dataset of the refer format is called 'refcoc'"),
        ({"vqa_data": "gone"}, "llava_dataset/gone.json: not found"),
        ({"reason_seg_data": "ReasonSeg|train_gone"}, "reason_seg/ReasonSeg/gone: not found"),
        ({"reason_seg_data": "ReasonSeg"}, "'ReasonSeg' must name a dataset and its split"),
        ({"dataset": "own", "own_data": "gone.jsonl"}, "--own_data: gone.jsonl: not found"),
        ({"dataset": "own", "own_data": ""}, "--own_data is empty"),
        ({"dataset": "own", "own_data": __file__}, "files of this kind are not read"),
        ({"val_dataset": "refcoco|unc"}, "--val_dataset 'refcoco|unc': names no split; write it as in refcoco|unc|val"),
        ({"val_dataset": "ReasonSeg|gone"}, "reason_seg/ReasonSeg/gone: not found"),
        ({"val_dataset": "a|b|c|d"}, "is no validation set"),
        ({"val_dataset": "own|gone.jsonl"}, "gone.jsonl: not found"),
        ({"dataset_dir": Path("gone")}, "--dataset_dir gone: there is no such folder"),
        ({"elsewhere": "coco"}, "--elsewhere has 'coco'"),
        ({"elsewhere": "coco=/gone"}, "--elsewhere says that coco is at /gone"),
    ],
)
def test_what_is_not_there_is_told_with_its_flag(args, changes, sentence):
    (problem,) = training_problems(replace(args, **changes), WORLD)
    assert sentence in problem


def test_what_is_not_drawn_need_not_be_there(args):
    assert training_problems(replace(args, sample_rates="1,1,0,1", vqa_data="gone"), WORLD) == []
    assert training_problems(replace(args, val_dataset="gone|gone", no_eval=True), WORLD) == []


def test_all_names_and_flags_are_told_at_once_and_nothing_is_rendered(tmp_path):
    wrong = ["--version", "gone/from/here", "--vision_pretrained", "x.pth", "--dataset", "foo", "--lr=-1",
             "--log_base_dir", str(tmp_path / "runs"), "--elsewhere", "coco=/gone"]  # fmt: skip
    with pytest.raises(ValueError, match="problems") as refusal:
        train_ds.main(wrong)
    for part in ("gone/from/here", "x.pth", "'foo'", "--lr -1", "/gone", "--dataset_dir dataset"):
        assert part in str(refusal.value), part
    assert not (tmp_path / "runs").exists()
