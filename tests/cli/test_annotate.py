"""`lisa annotate`: every format holds the model's masks, and a killed job ends as one that was not."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa.annotation import job
from lisa.cli.annotate import SOME_BAD
from lisa.cli.main import main

PROMPTS = ["Please segment the boats in this image.", "What is in this picture?", "Please segment the grass."]


@pytest.fixture(autouse=True)
def _one_model(kept_lisa, monkeypatch):
    monkeypatch.setattr("lisa.cli.flags.ModelFlags.load", lambda flags: kept_lisa)


@pytest.fixture(scope="session")
def photos(world, tmp_path_factory):
    """Twelve pictures in two folders, and a file with prompts beside them."""
    root = tmp_path_factory.mktemp("annotate")
    for index, path in enumerate(sorted((world / "coco" / "train2017").glob("*.jpg"))[:12]):
        target = root / "photos" / ("first" if index < 8 else "second/below") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (root / "photos" / "notes.txt").write_text("no picture")
    (root / "prompts.txt").write_text("\ufeff# what we look for\n\n" + "\n".join(PROMPTS) + "\n", encoding="utf-8")
    return root / "photos"


@pytest.fixture
def folder(photos, tmp_path):
    """A copy of them."""
    shutil.copyfile(photos.parent / "prompts.txt", tmp_path / "prompts.txt")
    return Path(shutil.copytree(photos, tmp_path / "photos"))


@pytest.fixture(scope="session")
def answers(photos, kept_lisa):
    """What the model says of every picture, asked one by one, by (picture, prompt)."""
    return {(name, prompt): kept_lisa.ask(photos / name, prompt) for name in pictures(photos) for prompt in PROMPTS}


def annotate(folder, out, *flags):
    prompts = folder.parent / "prompts.txt"
    return main(["annotate", str(folder), "--prompts", str(prompts), "--out", str(out), "--batch-size", "7", *flags])


def pictures(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))


def files(out):
    """Every file of a result with its bytes."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_coco_opens_in_pycocotools_and_its_masks_are_the_models(folder, answers, tmp_path):
    from pycocotools.coco import COCO

    assert annotate(folder, tmp_path / "out") == 0
    with contextlib.redirect_stdout(None):
        coco = COCO(tmp_path / "out" / "annotations.json")
    assert [image["file_name"] for image in coco.imgs.values()] == pictures(folder)
    pointed = [
        prompt for prompt in PROMPTS if any(len(answer.masks) for key, answer in answers.items() if prompt in key)
    ]
    assert 0 < len(pointed) < len(PROMPTS)
    assert {number: one["name"] for number, one in coco.cats.items()} == dict(enumerate(pointed, start=1))
    said = {
        (image["file_name"], one["question"]): one["answer"] for image in coco.imgs.values() for one in image["answers"]
    }
    assert said == {key: answer.text for key, answer in answers.items()}
    found = {}
    for annotation in coco.anns.values():
        key = coco.imgs[annotation["image_id"]]["file_name"], coco.cats[annotation["category_id"]]["name"]
        mask = coco.annToMask(annotation).astype(bool)
        assert annotation["area"] == mask.sum()
        found.setdefault(key, []).append(mask)
    assert found.keys() == {key for key, answer in answers.items() if len(answer.masks)}
    assert len(found) > 10
    for key, masks in found.items():
        np.testing.assert_array_equal(masks, answers[key].masks)


def test_png_files_are_the_models_masks_and_are_listed(folder, answers, tmp_path):
    out = tmp_path / "out"
    assert annotate(folder, out, "--format", "png") == 0
    lines = [json.loads(line) for line in (out / "annotations.jsonl").read_text().splitlines()]
    assert [(line["image"], line["question"]) for line in lines] == list(answers)
    for line, answer in zip(lines, answers.values(), strict=True):
        assert line["answer"] == answer.text
        assert len(line["masks"]) == len(answer.masks)
        for file, mask in zip(line["masks"], answer.masks, strict=True):
            np.testing.assert_array_equal(np.asarray(Image.open(out / file)) == 255, mask)
    listed = {file for line in lines for file in line["masks"]}
    assert listed == {path.relative_to(out).as_posix() for path in out.rglob("*.png")}


@pytest.mark.parametrize("format_", ["labelme", "jsonl"])
def test_what_labelme_and_training_read_holds_the_models_masks(folder, answers, tmp_path, format_):
    """Read by `datasets.own`, which knows nothing of the writer."""
    from datasets.images import read_picture
    from datasets.own.jsonl import JsonLines
    from datasets.own.labelme import LabelMe

    out = tmp_path / "out"
    assert annotate(folder, out, "--format", format_) == 0
    if format_ == "jsonl":
        read = list(JsonLines(out / "annotations.jsonl", folder))
    else:
        read = [one for place in ("first", "second/below") for one in LabelMe(out / place, folder / place)]
    checked = 0
    for own in read:
        name = own.path.resolve().relative_to(folder).as_posix()
        for asked in own.asked:
            if format_ == "jsonl":
                answer = answers[name, asked.conversation.turns[0].text.split("\n", 1)[1].strip()]
                masks = list(answer.masks)
            else:  # one region for each label: all of its shapes
                masks = [answers[name, asked.names[0]].masks.any(axis=0)]
            drawn = [region.mask(read_picture(own.path)) for region in asked.regions]
            assert len(drawn) == len(masks)
            for mask, expected in zip(drawn, masks, strict=True):
                np.testing.assert_array_equal(mask, expected)
                checked += 1
    assert checked > 10


class KilledError(Exception):
    """Stands for a kill: no code of the job runs after it."""


def killed_after(monkeypatch, writes):
    """The job dies in place of its write number `writes` of whole files, with half a file on the disk."""
    left = [writes]
    real = job.write_whole

    def write_or_die(path: Path, text: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            path.with_name(path.name + ".partial").write_text(text[: len(text) // 2])
            raise KilledError
        real(path, text)

    monkeypatch.setattr(job, "write_whole", write_or_die)


@pytest.mark.parametrize("format_", ["coco", "labelme", "png", "jsonl"])
def test_a_job_killed_at_any_write_ends_as_one_that_was_not(folder, tmp_path, monkeypatch, format_, kept_lisa):
    (folder / "first" / "broken.jpg").write_bytes(b"\xff\xd8 broken")
    assert annotate(folder, tmp_path / "whole", "--format", format_) == SOME_BAD
    expected = files(tmp_path / "whole")
    for writes in (0, 1, 2, 4):  # of 7 shards of 2 pictures; the last time when all are put together
        with monkeypatch.context() as patch:
            killed_after(patch, writes)
            with pytest.raises(KilledError):
                annotate(folder, tmp_path / "killed", "--format", format_)
    asked = []
    with monkeypatch.context() as patch:
        ask_many = kept_lisa.ask_many
        patch.setattr(kept_lisa, "ask_many", lambda *args, **options: asked.append(1) or ask_many(*args, **options))
        assert annotate(folder, tmp_path / "killed", "--format", format_) == SOME_BAD
    assert not asked  # everything was answered before
    found = files(tmp_path / "killed")
    partial = {name for name in found if name.endswith(".partial")}
    plans = {".lisa/finished.json"}  # names the output folder
    assert {name: data for name, data in found.items() if name not in partial | plans} == {
        name: data for name, data in expected.items() if name not in plans
    }
    assert not partial
    bad = (tmp_path / "killed" / "bad_files.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in bad] == ["first/broken.jpg"]
    assert str(tmp_path) not in bad[0]


def test_what_was_done_is_not_done_again(folder, tmp_path, kept_lisa, monkeypatch):
    assert annotate(folder, tmp_path / "out") == 0
    before = files(tmp_path / "out")
    monkeypatch.setattr(kept_lisa, "ask_many", None)
    assert annotate(folder, tmp_path / "out") == 0
    assert files(tmp_path / "out") == before


def test_another_job_in_the_same_folder_is_refused_until_it_is_begun_anew(folder, tmp_path, capsys):
    assert annotate(folder, tmp_path / "out", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == {
        "pictures": 12,
        "masks": summary["masks"],
        "bad": 0,
        "written": str(tmp_path / "out" / "annotations.json"),
    }
    changed = folder / pictures(folder)[0]
    os.utime(changed, (1, 1))
    with pytest.raises(ValueError, match="was begun with other images"):
        annotate(folder, tmp_path / "out")
    (folder.parent / "prompts.txt").write_text(PROMPTS[0])
    with pytest.raises(ValueError, match="was begun with other images and prompts and format"):
        annotate(folder, tmp_path / "out", "--format", "jsonl")
    assert annotate(folder, tmp_path / "out", "--format", "jsonl", "--fresh") == 0
    assert len((tmp_path / "out" / "annotations.jsonl").read_text().splitlines()) == 12
    assert files(tmp_path / "out").keys() == {"annotations.jsonl", ".lisa/plan.json", ".lisa/finished.json"}


@pytest.mark.parametrize("format_", ["png", "labelme"])
def test_a_job_begun_anew_leaves_nothing_of_the_one_before(folder, tmp_path, format_):
    assert annotate(folder, tmp_path / "out", "--format", format_) == 0
    (tmp_path / "out" / "mine.txt").write_text("not theirs")
    assert annotate(folder, tmp_path / "out", "--fresh") == 0
    names = {"annotations.json", "mine.txt", ".lisa/plan.json", ".lisa/finished.json"}
    assert files(tmp_path / "out").keys() == names


def test_the_output_may_lie_among_the_pictures(folder, tmp_path):
    for _ in range(2):
        assert annotate(folder, folder / "masks", "--format", "png") == 0


def test_prompts_are_checked_with_their_line(folder, tmp_path):
    for text, sentence in (
        ("Where?\nWhere is [SEG]?\n", r"line 2: the question holds \[SEG\]"),
        ("# only this\n", "holds no question"),
        ("Where?\n\nWhere?\n", "line 3 asks again"),
        ("a </s> b\n", "holds </s>"),
    ):
        (folder.parent / "prompts.txt").write_text(text)
        with pytest.raises(ValueError, match=sentence):
            annotate(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_pictures_with_one_labelme_file_are_refused(folder, tmp_path):
    name = pictures(folder)[0]
    Image.new("RGB", (8, 8)).save((folder / name).with_suffix(".png"))
    with pytest.raises(ValueError, match="would both be annotated in"):
        annotate(folder, tmp_path / "out", "--format", "labelme")
