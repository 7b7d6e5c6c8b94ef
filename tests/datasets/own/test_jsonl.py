"""Json lines."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from datasets.validation import open_validation

LEFT_HALF = [0, 0, 3, 0, 3, 8, 0, 8]
LINE = {"image": "a.png", "question": "Which half?", "answer": "The left, [SEG].", "masks": [LEFT_HALF]}
HALF_ROWS = ["xxx..."] * 8


def test_a_line_is_a_conversation_word_by_word(picture, write_lines, draw, rows):
    (sample,) = draw(write_lines(LINE))
    (conversation,) = sample.conversations
    assert [turn.text for turn in conversation.turns] == ["<image>\nWhich half?", "The left, [SEG]."]
    assert rows(sample.masks[0]) == HALF_ROWS
    assert (sample.names, sample.types, sample.ignore.any()) == (("",), ("",), False)
    assert sample.image_id == "a.png"


@pytest.mark.parametrize(
    "mask",
    [
        LEFT_HALF,
        [LEFT_HALF],
        [LEFT_HALF, [0, 0, 2, 0, 2, 8]],
        {"size": [8, 6], "counts": [0, 24, 24]},
        [{"size": [8, 6], "counts": [0, 24, 24]}],
        {"size": [8, 6], "counts": coco_mask.frPyObjects([LEFT_HALF], 8, 6)[0]["counts"].decode()},
        "half.png",
        "sub/half.png",
    ],
)
def test_every_form_of_a_mask_draws_the_same(picture, write_lines, save_mask, draw, rows, mask):
    half = np.zeros((8, 6), np.uint8)
    half[:, :3] = 7
    save_mask(picture.parent / "half.png", half)
    save_mask(picture.parent / "sub/half.png", np.repeat(half[:, :, None], 3, axis=2))
    (sample,) = draw(write_lines(LINE | {"masks": [mask]}))
    assert rows(sample.masks[0]) == HALF_ROWS


def test_a_one_bit_mask_file_is_read(picture, write_lines, save_mask, draw, rows):
    save_mask(picture.parent / "half.png", np.tile(np.arange(6) < 3, (8, 1)))
    (sample,) = draw(write_lines(LINE | {"masks": ["half.png"]}))
    assert rows(sample.masks[0]) == HALF_ROWS


def test_turns_names_type_and_ignore(picture, write_lines, draw, rows):
    line = {
        "image": "a.png",
        "turns": [
            {"question": "Left and right?", "answer": "[SEG] and [SEG]."},
            {"question": "Is it dark?", "answer": "Yes."},
            {"question": "And nothing?", "answer": "Here: [SEG]"},
        ],
        "masks": [LEFT_HALF, [3, 0, 6, 0, 6, 8, 3, 8], []],
        "names": ["left", "right", ""],
        "type": "halves",
        "ignore": [0, 0, 6, 0, 6, 1, 0, 1],
        "meta": {"by": "me"},
    }
    (sample,) = draw(write_lines(line))
    (conversation,) = sample.conversations
    assert [turn.text for turn in conversation.turns[::2]] == [
        "<image>\nLeft and right?",
        "Is it dark?",
        "And nothing?",
    ]
    assert rows(sample.masks[1]) == ["...xxx"] * 8
    assert sample.masks.sum(axis=(1, 2)).tolist() == [24, 24, 0]
    assert rows(sample.ignore) == ["xxxxxx", *["......"] * 7]
    assert (sample.names, sample.types) == (("left", "right", ""), ("halves",))


def test_lines_about_one_picture_are_one_sample_unless_they_ignore_other_pixels(picture, write_lines, draw, rows):
    words = {"image": "a.png", "question": "Hm?", "answer": "Hm."}
    other = LINE | {"ignore": [0, 0, 6, 0, 6, 1, 0, 1]}
    source = write_lines(LINE, other, "", words, LINE | {"image": "./a.png", "question": "Again?"})
    first, second = draw(source)
    assert {c.turns[0].text for c in first.conversations} == {"<image>\nWhich half?", "<image>\nHm?", "<image>\nAgain?"}
    assert (first.image_id, second.image_id) == ("a.png", "a.png#2")
    assert not first.ignore.any()
    assert second.ignore.sum() == 6
    assert [len(sample.conversations) for sample in draw(source, most=2)] == [2, 1]


def test_a_picture_on_its_side_takes_masks_of_either_geometry(tmp_path, save_picture, save_mask, write_lines, draw):
    # Stored 8 high and 6 wide, shown 6 high and 8 wide: turned clockwise, the stored top is on the right.
    save_picture(tmp_path / "a.jpg", np.zeros((8, 6, 3), np.uint8), orientation=6)
    stored = np.zeros((8, 6), np.uint8)
    stored[0] = 1
    save_mask(tmp_path / "stored.png", stored)
    save_mask(tmp_path / "shown.png", np.ascontiguousarray(np.rot90(stored, 3)))
    code = {"size": [8, 6], "counts": [0, *[1, 7] * 6]}
    polygon = [7, 0, 8, 0, 8, 6, 7, 6]
    line = {
        "image": "a.jpg",
        "question": "?",
        "answer": "[SEG]" * 4,
        "masks": ["stored.png", "shown.png", code, polygon],
    }
    (sample,) = draw(write_lines(line))
    assert sample.image.shape == (6, 8, 3)
    for mask in sample.masks:
        assert mask[:, 7].all()
        assert mask.sum() == 6


def test_pictures_may_lie_in_another_folder(tmp_path, save_picture, write_lines, draw):
    save_picture(tmp_path / "photos/deep/a.png", np.zeros((8, 6, 3), np.uint8))
    (sample,) = draw(f"{write_lines(LINE | {'image': 'deep/a.png'})}|{tmp_path / 'photos'}")
    assert sample.image_id == "deep/a.png"


def test_a_file_of_windows_with_bom_and_line_ends_is_read(picture, write_lines, draw):
    source = write_lines(LINE)
    source.write_bytes(
        b"\xef\xbb\xbf"
        + json.dumps(LINE).encode()
        + b"\r\n\r\n"
        + '{"image": "a.png", "question": "Où ça?", "answer": "Là."}\r\n'.encode("cp1252")
    )
    (sample,) = draw(source)
    assert {c.turns[0].text for c in sample.conversations} == {"<image>\nWhich half?", "<image>\nOù ça?"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masks": []}, r"hold 1 \[SEG\], but there are 0 masks; give one mask per"),
        ({"answer": "No."}, r"hold 0 \[SEG\], but there are 1 masks"),
        ({"mask": []}, "no field is called 'mask'; known: image, question, answer"),
        ({"image": "../../etc/passwd"}, r"'../../etc/passwd' leads out of"),
        ({"image": "/etc/passwd"}, "leads out of"),
        ({"image": "C:\\a.png"}, "leads out of"),
        ({"image": "b.png"}, r"b\.png: no such picture"),
        ({"image": "my.jsonl"}, "cannot be read as a picture"),
        ({"image": "x" * 300}, "x"),
        ({"image": 5}, "field 'image' is 5, not of type str"),
        ({"question": "<image>\nWhich?"}, "holds <image>, a control word"),
        ({"question": "What is [SEG]?"}, r"holds \[SEG\], a control word"),
        ({"question": " "}, "the text is empty"),
        ({"answer": ""}, "the text is empty"),
        ({"turns": []}, "either question and answer, or turns"),
        ({"names": ["a", "b"]}, "2 names for 1 masks"),
        ({"names": [1]}, "names are texts"),
        ({"type": 3}, "field 'type' is 3"),
        ({"masks": [None]}, r"masks\[0\]: a mask is a run-length code, a list of polygons or the name of a PNG"),
        ({"masks": [["a", "b"]]}, r"masks\[0\]: a polygon is a list of numbers"),
        ({"masks": [[1, 2, 3, 4]]}, "a polygon of 2 points has no area"),
        ({"masks": [[90, 90, 95, 90, 95, 95]]}, "outside the picture of 6 x 8 pixels"),
        ({"masks": [{"size": [6, 8], "counts": [48]}]}, "is for 8 x 6 pixels.*but .*a.png has 6 x 8"),
        ({"masks": [{"size": 8, "counts": [48]}]}, r"the size of a run-length code is \[height, width\]"),
        ({"masks": [{"size": [8, 6], "counts": [40]}]}, "cover 40 pixels, not 48"),
        ({"masks": ["../a.png"]}, r"masks\[0\]: file name '../a.png' leads out of"),
        ({"masks": ["no.png"]}, r"masks\[0\]: .*no\.png: no such picture"),
        ({"masks": ["mask.jpg"]}, "a mask is a PNG file"),
        ({"masks": ["small.png"]}, "small.png is for 5 x 5 pixels"),
        ({"masks": ["clear.png"]}, "pixels of mode RGBA are ambiguous"),
        ({"ignore": "no.png"}, "ignore: .*no such picture"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(picture, write_lines, save_mask, draw, change, message):
    save_mask(picture.parent / "small.png", np.zeros((5, 5), np.uint8))
    save_mask(picture.parent / "clear.png", np.zeros((8, 6, 4), np.uint8))
    with pytest.raises((ValueError, FileNotFoundError), match=rf"my\.jsonl: line 2: (.|\n)*{message}"):
        draw(write_lines(LINE, LINE | change))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "line 2: not valid JSON"), ("[1]", r"line 2: \[1\] is no json object"), ('{"image": "a.png"}', "either")],
)
def test_a_line_that_is_no_record_is_refused(picture, write_lines, draw, text, message):
    with pytest.raises(ValueError, match=message):
        draw(write_lines(LINE, text))


def test_a_file_without_lines_is_refused(write_lines, draw):
    with pytest.raises(ValueError, match="holds no line"):
        draw(write_lines(""))


def test_turns_need_a_question(picture, write_lines, draw):
    with pytest.raises(ValueError, match="line 1: turns is empty"):
        draw(write_lines({"image": "a.png", "turns": []}))


def test_validation_asks_in_the_user_s_own_words(picture, write_lines):
    source = write_lines(LINE, LINE | {"question": "Again?"})
    data = open_validation(picture.parent, f"own|{source}")
    sample = data.sample(0)
    assert (len(data), data.num_samples, data.spec, sample.data) == (1, 2, f"own|{source}", data.spec)
    assert [c.turns[0].text for c in sample.conversations] == ["<image>\nWhich half?", "<image>\nAgain?"]
    assert list(data.train_masks(9)) == []


def test_validation_asks_the_first_of_several_turns(picture, write_lines, rows):
    turns = [{"question": "Left?", "answer": "[SEG]"}, {"question": "Right?", "answer": "[SEG]"}]
    line = {"image": "a.png", "turns": turns, "masks": [LEFT_HALF, []], "names": ["left", "right"]}
    sample = open_validation(picture.parent, f"own|{write_lines(line, LINE)}").sample(0)
    assert [[turn.text for turn in c.turns] for c in sample.conversations] == [
        ["<image>\nLeft?", "[SEG]"],
        ["<image>\nWhich half?", "The left, [SEG]."],
    ]
    assert sample.names == ("left", "")
    assert [rows(mask) for mask in sample.masks] == [HALF_ROWS] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{},\n{}\n", "line 1: is part of a json list"),
        ("[\n{}\n]\n", "line 1: is part of a json list"),
    ],
)
def test_lines_with_commas_or_brackets_of_a_list_are_told_as_such(tmp_path, draw, text, message):
    path = tmp_path / "my.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        draw(path)


def test_lines_in_utf_16_are_told_as_such(tmp_path, draw):
    path = tmp_path / "my.jsonl"
    path.write_bytes("{}\n".encode("utf-16"))
    with pytest.raises(ValueError, match="UTF-16"):
        draw(path)
