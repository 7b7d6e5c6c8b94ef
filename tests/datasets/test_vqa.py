"""LLaVA-Instruct, held against the official loader."""

import json

import numpy as np
import pytest

from datasets.sample import SampleOptions
from datasets.vqa import open_vqa, read_conversation


def human(text: str) -> dict:
    return {"from": "human", "value": text}


def gpt(text: str) -> dict:
    return {"from": "gpt", "value": text}


def texts(*messages: dict) -> list[str]:
    return [turn.text for turn in read_conversation(list(messages), "x").turns]


def open_llava(root):
    return open_vqa(root, "llava_instruct_150k", SampleOptions())


def write_llava(root, save_picture, records) -> None:
    save_picture(root / "coco/train2017/a.jpg", np.zeros((4, 5, 3), np.uint8))
    (root / "llava_dataset").mkdir()
    (root / "llava_dataset/llava_instruct_150k.json").write_text(json.dumps(records))


def test_the_image_moves_to_the_front_of_the_turn_that_had_it():
    assert texts(human("Look.\n<image>"), gpt("Yes.")) == ["<image>\nLook.", "Yes."]
    assert texts(human("Hi."), gpt("Hi."), human("And <image>?"), gpt("A dog.")) == [
        "Hi.",
        "Hi.",
        "<image>\nAnd ?",
        "A dog.",
    ]


def test_the_picture_is_shown_once():
    assert texts(human("<image>\nA?"), gpt("B."), human("<image>\nC?"), gpt("D.")) == [
        "<image>\nA?",
        "B.",
        "C?",
        "D.",
    ]


def test_messages_before_the_first_question_are_left_out():
    assert texts(gpt("skipped"), human("<image> A?"), gpt("B.")) == ["<image>\nA?", "B."]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], r"messages are from \[\]"),
        ([gpt("B.")], "must be from human and gpt"),
        ([human("<image> A?"), {"from": "bot", "value": "B."}], "must be from human and gpt"),
        ([human("<image> A?")], "the last question has no answer"),
        ([human("A?"), gpt("B.")], "no question holds <image>"),
        ([human("<image> A?"), human("C?"), gpt("B.")], "starts with the user and alternates"),
        ([human("<image> A?"), gpt("See [SEG].")], r"holds \[SEG\], a control word"),
        ([human("<image> A?"), gpt("See <image>.")], "holds <image>, a control word"),
        ([human("<image>"), gpt("B.")], "the text is empty"),
        ([human("<image> A?"), gpt("")], "the text is empty"),
        ([human("<image> A?"), {"from": "gpt"}], "no field 'value'"),
    ],
)
def test_a_conversation_that_does_not_fit_is_refused(messages, message):
    with pytest.raises(ValueError, match=f"x: .*{message}"):
        read_conversation(messages, "x")


def test_a_picture_that_is_not_on_disk_is_refused_at_the_start(tmp_path, save_picture):
    write_llava(tmp_path, save_picture, [{"image": "b.jpg", "conversations": [human("<image> A?"), gpt("B.")]}])
    with pytest.raises(FileNotFoundError, match=r"b\.jpg: not found, but .*llava_instruct_150k\.json annotates it"):
        open_llava(tmp_path)


def test_a_picture_name_that_leads_out_of_the_folder_is_refused(tmp_path, save_picture):
    write_llava(tmp_path, save_picture, [{"image": "../a.jpg", "conversations": [human("<image> A?"), gpt("B.")]}])
    with pytest.raises(ValueError, match=r"record 0: file name '\.\./a\.jpg' leads out of"):
        open_llava(tmp_path)


@pytest.mark.parametrize("records", [[], {}, None])
def test_a_file_without_records_is_refused(tmp_path, save_picture, records):
    write_llava(tmp_path, save_picture, records)
    with pytest.raises(ValueError, match="holds no list of conversations"):
        open_llava(tmp_path)


def test_a_missing_file_is_refused_with_the_expected_tree(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"llava_instruct_150k\.json: not found(.|\n)*coco/train2017"):
        open_llava(tmp_path)
