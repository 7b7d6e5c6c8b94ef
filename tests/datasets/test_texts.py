"""Texts of data that the model cannot read: own data is refused whole, official data is made readable and counted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train_ds
from datasets.mixture import MixtureOptions, open_mixture
from datasets.texts import TextNotes, check_texts
from datasets.validation import open_validation
from lisa.conversation import Conversation
from lisa.processing import LisaProcessor

LONG = "the cow " * 700


@pytest.fixture(scope="module")
def processor(kept_lisa) -> LisaProcessor:
    return kept_lisa.predictor.processor


def write_jsonl(folder: Path) -> str:
    line = {"image": "a.png", "question": "Where is the cow?", "answer": "It is [SEG].", "masks": [[1, 1, 9, 1, 9, 9]]}
    lines = [line] * 5
    lines[1] = line | {"question": "Where is <s> the cow?"}
    lines[2] = line | {"question": LONG}
    lines[3] = line | {"answer": f"It is [SEG]. {LONG}"}
    lines[4] = {"image": "a.png", "turns": [{"question": "Is it?", "answer": "Yes </s>."}]}
    (folder / "my.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return str(folder / "my.jsonl")


def write_coco(folder: Path) -> str:
    names = ["cow", "<S>", LONG]
    square = {"image_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
        "annotations": [square | {"id": k, "category_id": k} for k in range(3)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(names)],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    return str(folder / "coco.json")


def write_labelme(folder: Path) -> str:
    shapes = [{"label": name, "points": [[1, 1], [9, 1], [9, 9]]} for name in ("cow", "a <im_end>", LONG)]
    (folder / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": shapes}))
    return str(folder)


def write_pairs(folder: Path) -> str:
    for name in ("images", "masks"):
        (folder / name).mkdir()
    Image.new("RGB", (30, 20)).save(folder / "images" / "a.png")
    Image.fromarray(np.ones((20, 30), np.uint8)).save(folder / "masks" / "a.png")
    (folder / "classes.json").write_text(json.dumps({"1": "cow", "2": "a </s>", "3": LONG}))
    return str(folder)


OWN = {
    "jsonl": (write_jsonl, ["my.jsonl: line 2: the user's text", "my.jsonl: line 3: the conversation has",
                            "my.jsonl: line 5: the assistant's text"]),
    "coco": (write_coco, ["coco.json: image 1: category '<S>'", "coco.json: image 1: category 'the cow the"]),
    "labelme": (write_labelme, ["a.json: label 'a <im_end>'", "a.json: label 'the cow the"]),
    "pairs": (write_pairs, ["masks: class 'a </s>'", "masks: class 'the cow the"]),
}  # fmt: skip


@pytest.mark.parametrize("reader", OWN)
def test_all_texts_of_own_data_are_refused_at_once_with_their_places(reader, processor, tmp_path):
    write, places = OWN[reader]
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    mixture = open_mixture(tmp_path, MixtureOptions(dataset="own", own_data=write(tmp_path)), seed=0)
    said = []
    with pytest.raises(ValueError, match=f"{len(places)} problems") as refusal:
        check_texts(processor, tmp_path / "notes.jsonl", [], mixture, said.append)
    assert [place for place in places if place not in str(refusal.value)] == []
    cut = [line for line in said if "my.jsonl: line 4" in line and "their end is not learned" in line]
    assert len(cut) == (reader == "jsonl")


@pytest.mark.parametrize("reader", OWN)
def test_validation_sets_of_own_data_are_checked_as_they_are_asked(reader, processor, tmp_path):
    write, _ = OWN[reader]
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    validation = open_validation(tmp_path, f"own|{write(tmp_path)}")
    with pytest.raises(ValueError, match=r"the conversation has \d+ tokens"):
        check_texts(processor, tmp_path / "notes.jsonl", [validation])


def test_what_can_be_read_is_left_as_it_is(processor, minidata, tmp_path):
    mixture = open_mixture(minidata, MixtureOptions(), seed=0)
    before = [mixture.sample(0, i) for i in range(20)]
    check_texts(processor, tmp_path / "notes.jsonl", [], mixture)
    after = [mixture.sample(0, i) for i in range(20)]
    assert [one.conversations for one in before] == [one.conversations for one in after]
    assert not (tmp_path / "notes.jsonl").exists()
    assert TextNotes(tmp_path / "notes.jsonl").summary() == []


@pytest.fixture
def mixture(minidata):
    return open_mixture(minidata, MixtureOptions(dataset="refer_seg", refer_seg_data="refcoco"), seed=0)


def test_flaws_of_official_texts_stop_nothing_and_are_counted(processor, mixture, tmp_path):
    check_texts(processor, tmp_path / "notes.jsonl", [], mixture)
    sample = mixture.sample(0, 0)
    first, question = sample.conversations[0], sample.conversations[0].turns[0].text
    flawed = (Conversation.of(f"{question} </s>", "[SEG]."), Conversation.of(f"<image>\n{LONG}", "[SEG]."), first)
    masks = np.stack([np.full(sample.image.shape[:2], k == 1) for k in range(3)])
    sample = replace(sample, conversations=flawed, masks=masks, names=("a", "b", "c"), types=("", "", ""))
    readable = mixture.readable(sample)
    assert [one.turns[0].text for one in readable.conversations] == [f"{question} < /s>", question]
    assert readable.names == ("a", "c")
    assert not readable.masks.any()  # the full mask was that of the question that is too long
    processor([readable.image], [readable.conversations], masks=[readable.masks], ignore=[readable.ignore])
    mixture.readable(sample)  # told once
    left_out, escaped = TextNotes(tmp_path / "notes.jsonl").summary()
    assert left_out == f"note: refcoco|unc|train: 1 conversations were left out ({tmp_path / 'notes.jsonl'})"
    assert escaped.startswith("note: refcoco|unc|train: 1 conversations were written with a blank in a control word")


def test_an_image_with_nothing_to_read_is_drawn_anew(processor, mixture, tmp_path, monkeypatch):
    """Its only question is too long: another image of the dataset takes its place, the same one each time."""
    (dataset,) = mixture._families[0]
    draw, drawn = dataset.sample, []

    def every_other_is_long(index, rng):
        sample = draw(index, rng)
        drawn.append(index)
        if len(drawn) % 2:
            sample = replace(
                sample, conversations=tuple(Conversation.of(f"<image>\n{LONG}", "[SEG].") for _ in sample.masks)
            )
        return sample

    monkeypatch.setattr(dataset, "sample", every_other_is_long)
    check_texts(processor, tmp_path / "notes.jsonl", [], mixture)
    samples = [mixture.sample(0, i) for i in range(4)]
    assert len(drawn) == 8
    assert all(LONG not in one.turns[0].text for sample in samples for one in sample.conversations)


def test_an_evaluation_leaves_nothing_out(processor, minidata, tmp_path):
    validation = open_validation(minidata, "refcoco|unc|val")
    (readable,) = check_texts(processor, tmp_path / "notes.jsonl", [validation])
    assert (readable.spec, len(readable), readable.num_samples) == (
        validation.spec,
        len(validation),
        validation.num_samples,
    )
    sample = validation.sample(0)
    long = replace(
        sample, conversations=tuple(Conversation.of(f"<image>\n{LONG} </s>", "[SEG].") for _ in sample.conversations)
    )
    asked = readable.readable(long)
    assert len(asked.conversations) == len(sample.conversations)
    processor([asked.image], [asked.conversations])
    assert any("asked with a shortened question" in line for line in TextNotes(tmp_path / "notes.jsonl").summary())


def test_too_little_room_for_any_question_is_told_at_the_start(processor, mixture, tmp_path):
    config = processor.config
    short = type(config).from_dict(config.to_dict() | {"model_max_length": 70})
    reader = LisaProcessor(short, processor.tokenizer, processor.image_processor)
    with pytest.raises(ValueError, match=r"--model_max_length 70: an image of 640 x 480 pixels and the template"):
        check_texts(reader, tmp_path / "notes.jsonl", [], mixture)


SHORT = ["--version", str(Path(__file__).resolve().parents[2] / "models" / "tiny"), "--no_eval", "--epochs", "1",
         "--steps_per_epoch", "2", "--batch_size", "1", "--grad_accumulation_steps", "1", "--workers", "0",
         "--precision", "fp32", "--zero_stage", "0", "--warmup_steps", "1"]  # fmt: skip


def test_a_run_is_refused_before_its_first_step(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    own = ["--dataset", "own", "--own_data", write_jsonl(tmp_path), "--log_base_dir", str(tmp_path / "runs")]
    with pytest.raises(ValueError, match=r"(?s)3 problems.*line 2: .*line 3: .*line 5: "):
        train_ds.main([*SHORT, *own])
    assert not [
        path for path in (tmp_path / "runs").rglob("*") if path.name != "run.lock" and path.is_file()
    ]  # the next try may have its name


def test_flaws_of_official_data_do_not_end_a_run(minidata, tmp_path, capsys):
    tree = shutil.copytree(minidata, tmp_path / "data")
    source = tree / "llava_dataset/llava_instruct_150k.json"
    records = json.loads(source.read_text())
    for record in records:
        record["conversations"][1]["value"] += " </s>"
    records[0]["conversations"][0]["value"] += LONG
    source.write_text(json.dumps(records))
    flags = ["--dataset", "vqa", "--dataset_dir", str(tree), "--log_base_dir", str(tmp_path), "--exp_name", "run"]
    preset = ["--version", "tiny", "--vision_steps", "0", "--grounding_steps", "0", "--processes", "1"]
    train_ds.main([*SHORT[2:], *preset, *flags, "--steps_per_epoch", "6", "--index_dir", str(tmp_path / "index")])
    assert (tmp_path / "run" / "metrics.jsonl").is_file()
    assert "note: llava_instruct_150k:" in capsys.readouterr().out
    done = {json.loads(line)["done"] for line in (tmp_path / "run" / "text_notes.jsonl").read_text().splitlines()}
    assert "written with a blank in a control word" in done
