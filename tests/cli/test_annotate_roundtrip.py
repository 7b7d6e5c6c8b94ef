"""What `lisa annotate` writes is data to train on, and opens in the tools of others: same images, same masks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotating import BOATS, GRASS, WORDS, annotate, scenes

from datasets.own import open_own
from datasets.sample import SampleOptions
from lisa.formats import coco_instances

NAMES = ("a.png", "sub/b.jpg", "sub/deep/c.png")
PICTURE = "<image>\n"
FORMATS = ("coco", "labelme", "labelme beside", "png", "jsonl")


@pytest.fixture(scope="module")
def root(kept_lisa, example, tmp_path_factory):
    """Images in nested folders, annotated in every format."""
    root = tmp_path_factory.mktemp("roundtrip")
    scenes(root / "photos", example, *NAMES)
    shutil.copytree(root / "photos", root / "labelme beside")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lisa.cli.flags.ModelFlags.load", lambda flags: kept_lisa)
        for format_ in FORMATS:
            beside = format_ == "labelme beside"
            folder = root / ("labelme beside" if beside else "photos")
            assert annotate(folder, root / format_, "--format", format_.split()[0]) == 0
    return root


@pytest.fixture(scope="module")
def answers(root, kept_lisa):
    """What the model says, by (image, question)."""
    asked = [(name, question) for name in NAMES for question in (BOATS, GRASS, WORDS)]
    return {(name, question): kept_lisa.ask(root / "photos" / name, question) for name, question in asked}


def source_of(root: Path, format_: str) -> str:
    file = {"coco": "/annotations.json", "png": "/annotations.jsonl", "jsonl": "/annotations.jsonl"}.get(format_, "")
    return f"{root / format_}{file}" + ("" if format_ == "labelme beside" else f"|{root / 'photos'}")


def read_back(root: Path, format_: str) -> dict[tuple[str, str], np.ndarray]:
    """The masks that `train_ds.py --own_data` draws, by image and what is asked."""
    data = open_own(Path(), source_of(root, format_), SampleOptions(num_classes_per_sample=99))
    folder = root / ("labelme beside" if format_ == "labelme beside" else "photos")
    found = {}
    for index in range(len(data)):
        sample = data.sample(index, np.random.default_rng(index))
        masks = iter(sample.masks)
        for conversation in sample.conversations:
            name = sample.image_path.resolve().relative_to(folder.resolve()).as_posix()
            question = conversation.turns[0].text.removeprefix(PICTURE)
            found[name, question] = [next(masks) for _ in range(conversation.num_seg)]
    return found


@pytest.mark.parametrize("format_", FORMATS)
def test_what_is_written_is_read_as_own_data(root, answers, format_):
    found = read_back(root, format_)
    whole_lines = format_ in ("png", "jsonl")
    if not whole_lines:  # labels: a short one is asked for in many words, one that is a question as it stands
        found = {(name, BOATS if "boats" in question else question): masks for (name, question), masks in found.items()}
    assert found.keys() == {key for key, answer in answers.items() if whole_lines or len(answer.masks)}
    assert {name for name, _ in found} == set(NAMES)
    for key, masks in found.items():
        assert len(masks) == len(answers[key].masks)
        for mask, expected in zip(masks, answers[key].masks, strict=True):
            np.testing.assert_array_equal(mask, expected)


def test_every_format_has_the_words_of_answers_without_a_mask(root, answers):
    coco = json.loads((root / "coco" / "annotations.json").read_text(encoding="utf-8"))
    assert [(one["id"], one["name"]) for one in coco["categories"]] == [(1, "boats"), (2, GRASS)]
    assert coco["categories"][0]["question"] == BOATS
    said = [
        {(one["file_name"], entry["question"]): entry["answer"] for one in coco["images"] for entry in one["answers"]}
    ]
    files = {name: (root / "labelme" / name).with_suffix(".json").read_text(encoding="utf-8") for name in NAMES}
    said.append(
        {(name, one["question"]): one["answer"] for name in NAMES for one in json.loads(files[name])["answers"]}
    )
    for format_ in ("png", "jsonl"):
        lines = (root / format_ / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
        said.append({(one["image"], one["question"]): one["answer"] for one in map(json.loads, lines)})
    assert said == [{key: answer.text for key, answer in answers.items()}] * 4


def strict(kind: str, *paths: Path) -> dict:
    """What a reader of others found, see tests/readers/strict_readers.py."""
    script = Path(__file__).parents[1] / "readers" / "strict_readers.py"
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv, "uv runs the readers of other tools in an environment of their own: pip install uv"
    command = [uv, "run", "--locked", "--quiet", "--python", sys.executable, "--script", script, kind, *paths]
    environment = os.environ | {"UV_COMPILE_BYTECODE": "0"}  # nothing is run twice
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def areas(answers) -> list:
    """[image without its ending, label, pixels] of every mask."""
    called = {BOATS: "boats"}
    return sorted(
        [name.rpartition(".")[0], called.get(question, question), int(mask.sum())]
        for (name, question), answer in answers.items()
        for mask in answer.masks
    )


def test_strict_pycocotools_evaluates_it_against_itself(root, answers):
    found = strict("pycocotools", root / "coco" / "annotations.json")
    assert found == {"annotations": len(areas(answers)), "average precision": pytest.approx(1)}


def test_datumaro_reads_it_in_both_ways(root, answers, tmp_path):
    (tmp_path / "annotations").mkdir()
    shutil.copyfile(root / "coco" / "annotations.json", tmp_path / "annotations" / "instances_default.json")
    shutil.copytree(root / "photos", tmp_path / "images" / "default")
    assert strict("datumaro", tmp_path) == {"Dataset": areas(answers), "StreamDataset": areas(answers)}


def test_supervision_reads_it(root, answers):
    import supervision

    coco, photos = root / "coco" / "annotations.json", root / "photos"
    data = supervision.DetectionDataset.from_coco(str(photos), str(coco), force_masks=True)
    found = [
        [Path(path).relative_to(photos).with_suffix("").as_posix(), data.classes[label], int(mask.sum())]
        for path, _, detections in data
        for label, mask in zip(detections.class_id, detections.mask, strict=True)
    ]
    assert sorted(found) == areas(answers)


def test_what_labelme_opens_and_saves_is_still_read(root, answers, tmp_path):
    """LabelMe puts the image into the file, and keeps the answers."""
    shutil.copytree(root / "labelme beside", tmp_path / "labelme beside")
    labels = sorted((tmp_path / "labelme beside").rglob("*.json"))
    labels = [path for path in labels if ".lisa" not in path.parts]
    before = {path: json.loads(path.read_text(encoding="utf-8")) for path in labels}
    found = strict("labelme", *labels)
    in_folder = {Path(path).relative_to(tmp_path / "labelme beside").with_suffix(""): found[path] for path in found}
    opened = [[name.as_posix(), label, area] for name, shapes in in_folder.items() for label, area in shapes]
    assert sorted(opened) == areas(answers)
    for path in labels:
        after = json.loads(path.read_text(encoding="utf-8"))
        assert after["imageData"]
        assert after["answers"] == before[path]["answers"]
    again, first = read_back(tmp_path, "labelme beside"), read_back(root, "labelme beside")
    assert again.keys() == first.keys()
    for key, masks in first.items():
        np.testing.assert_array_equal(again[key], masks)


def test_coco_of_answers_opens_in_strict_readers(kept_lisa, example, tmp_path):
    """`Answer.to_coco`; also of several about one image, of an empty mask, and of an image from memory."""
    boats, grass, words = (kept_lisa.ask(example, question) for question in (BOATS, GRASS, WORDS))
    nothing = replace(grass, masks=np.zeros_like(grass.masks))
    memory = kept_lisa.ask(boats.picture, BOATS)
    coco = coco_instances([boats, nothing, words, memory])
    assert [(one["file_name"], len(one["answers"])) for one in coco["images"]] == [
        ("example.jpg", 3),
        ("image_2.png", 1),
    ]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    path = tmp_path / "annotations" / "instances_default.json"
    path.write_text(json.dumps(coco), encoding="utf-8")
    assert strict("pycocotools", path)["annotations"] == 3
    pixels = int(boats.masks.sum())
    assert strict("datumaro", tmp_path)["Dataset"] == [
        ["example", BOATS, pixels],
        ["example", GRASS, 0],
        ["image_2", BOATS, pixels],
    ]
    path.write_text(json.dumps(boats.to_coco()), encoding="utf-8")
    assert strict("pycocotools", path)["annotations"] == 1


@pytest.mark.parametrize("format_", ["png", "jsonl"])
def test_an_answer_of_which_nobody_could_learn_is_no_line_and_is_told(format_):
    from lisa.annotation.plan import Plan
    from lisa.annotation.writers import left_out_lines, result_lines

    texts = {"Who?": " ", "Where?": "in <image>", "What?": "A boat."}
    answers = [{"name": asked, "question": asked, "text": text, "masks": []} for asked, text in texts.items()]
    record = {"image": "a.png", "height": 8, "width": 6, "answers": answers}
    plan = Plan(images=[], unusable=[], prompts=[], format=format_, model="", batch_size=1, max_new_tokens=9)
    assert [json.loads(line)["answer"] for line in result_lines(lambda: [record], plan)] == ["A boat."]
    assert list(left_out_lines(record, plan)) == [
        ("a.png", "the answer to 'Who?' is left out: it is empty"),
        ("a.png", "the answer to 'Where?' is left out: it holds <image>, which stands for the image"),
    ]
