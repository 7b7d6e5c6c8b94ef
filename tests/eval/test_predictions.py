"""`preds.jsonl` and the picture of predictions."""

import json

import numpy as np
import pytest
from PIL import Image, ImageFont
from pycocotools import mask as coco_mask
from toy_data import make_sample, strip_mask

from datasets.drawing import CELL, TARGET_COLOR, overlay, wrap
from eval.benchmark import evaluate
from eval.predictions import Prediction, PredictionFile, PredictionPick, question_text
from eval.sheet import prediction_sheet
from lisa.conversation import Conversation, Turn
from lisa.formats import encode_rle


def read_lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_there_is_a_line_per_sample_with_everything_needed_to_score_it_again(toy, tmp_path):
    path = tmp_path / "preds.jsonl"
    with path.open("w") as file:
        evaluate(toy.predictor, toy.validation_set, "generated", predictions=PredictionFile(file))
    car, tree, boat, fish, lamp = read_lines(path)
    assert tree["data"] == "toy|val"
    assert (tree["image_id"], tree["mode"], tree["type"]) == ("1", "generated", "relation")
    assert (tree["question"], tree["answer"]) == ("tree", "It is tree [SEG] [SEG]")
    assert tree["scores"] == [0.5, 0.5]
    assert tree["iou"] == pytest.approx(0.5, abs=1e-5)
    decoded = [coco_mask.decode(rle).astype(bool) for rle in tree["masks"]]
    assert np.array_equal(decoded, [strip_mask(4, 5), strip_mask(5, 6)])
    assert (boat["masks"], boat["scores"], boat["iou"]) == ([], [], 0.0)
    assert coco_mask.decode(fish["masks"][0]).sum() == 0
    assert [line["question"] for line in (car, lamp)] == ["car", "lamp"]


def test_rle_is_that_of_coco():
    # Column by column: 2 pixels off, 2 on, 1 off, 1 on. COCO writes 2, 2, 1 as "221", and from the fourth on
    # the difference from two before: 1 - 2 = -1, whose five bits 31 are the character 48 + 31.
    mask = np.array([[0, 1, 0], [0, 1, 1]], dtype=bool)
    assert encode_rle(mask) == {"size": [2, 3], "counts": "221O"}


def test_the_question_is_the_last_of_the_user_without_the_placeholder():
    first = Conversation.of("<image>\n What is the moon? Please output segmentation mask.", "[SEG].")
    assert question_text(first) == "What is the moon? Please output segmentation mask."
    assert question_text(Conversation((*first.turns, Turn("user", "And the star?")))) == "And the star?"


def test_a_pick_keeps_as_many_as_wanted_in_order_and_the_same_for_a_seed(toy):
    def picked(wanted, seed=0):
        pick = PredictionPick(5, wanted, np.random.default_rng(seed))
        evaluate(toy.predictor, toy.validation_set, "generated", predictions=pick, blind=False)
        return [row.question for row in pick.rows]

    everything = ["car", "tree", "boat", "fish", "lamp"]
    assert picked(99) == everything
    assert len(picked(3)) == 3
    assert picked(3) == [word for word in everything if word in picked(3)]
    assert len({tuple(picked(2, seed)) for seed in range(10)}) > 1


def test_a_pick_is_full_when_the_evaluation_ends_at_its_limit(toy):
    for seed in range(10):
        pick = PredictionPick(5, 2, np.random.default_rng(seed))
        evaluate(toy.predictor, toy.validation_set, "generated", predictions=pick, blind=False, limit=1)
        assert [row.question for row in pick.rows] == ["car", "tree"]


# --- the sheet ------------------------------------------------------------------------------------------


def row(question="the car", answer="[SEG].", height=2, width=10, num_masks=1) -> Prediction:
    sample = make_sample(1, {"car": strip_mask(0, 4)})
    sample.image = np.full((height, width, 3), 90, np.uint8)
    sample.ignore = np.zeros((height, width), bool)
    target = np.zeros((height, width), bool)
    target[:, : width // 2] = True
    return Prediction(
        sample=sample,
        mode="generated",
        question=question,
        kind="class",
        target=target,
        answer=answer,
        masks=np.repeat(target[None], num_masks, axis=0),
        scores=np.ones(num_masks),
        iou=0.5,
    )


def test_a_sheet_grows_by_the_same_height_per_row(tmp_path):
    heights = []
    for number in (1, 2, 3):
        prediction_sheet([row()] * number, tmp_path / "sheet.png")
        heights.append(Image.open(tmp_path / "sheet.png").height)
    assert heights[2] - heights[1] == heights[1] - heights[0] > CELL[1]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 500), (500, 1), (2000, 1500)])
def test_pictures_of_any_shape_are_drawn(tmp_path, height, width):
    prediction_sheet([row(height=height, width=width)], tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").mode == "RGB"


def test_no_answer_no_mask_and_endless_words_are_drawn(tmp_path):
    rows = [row(answer="", num_masks=0), row(question="w" * 10_000, answer="[SEG]" * 500, num_masks=3)]
    prediction_sheet(rows, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_an_empty_sheet_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one prediction"):
        prediction_sheet([], tmp_path / "sheet.png")


def test_an_overlay_tints_the_mask_greys_the_ignored_and_leaves_the_picture_alone():
    image = np.full((40, 40, 3), 100, np.uint8)
    mask, ignore = np.zeros((2, 40, 40), bool)
    mask[:, :20], ignore[30:, 30:] = True, True
    drawn = overlay(image, mask, TARGET_COLOR, ignore)
    assert (image == 100).all()
    # 3/4 of the picture and 1/4 of the colour.
    assert drawn[10, 10].tolist() == [int(75 + value / 4) for value in TARGET_COLOR]
    assert drawn[35, 35].tolist() == [120, 120, 120]
    assert drawn[20, 19].tolist() == list(TARGET_COLOR)


def test_lines_fit_and_keep_every_word():
    font = ImageFont.load_default(size=20)
    text = "which of these would still be of use after dark"
    lines = wrap(text, font, 150, max_lines=99)
    assert " ".join(lines) == text
    assert all(font.getlength(line) <= 150 for line in lines)
    assert len(lines) > 2


def test_a_word_that_is_too_long_is_broken_and_a_text_that_is_too_long_is_cut_visibly():
    font = ImageFont.load_default(size=20)
    pieces = wrap("a" + "w" * 50, font, 150, max_lines=99)
    assert "".join(pieces) == "a" + "w" * 50
    assert all(font.getlength(piece) <= 150 for piece in pieces)
    cut = wrap("word " * 50, font, 150, max_lines=2)
    assert len(cut) == 2
    assert cut[-1].endswith("…")
    assert font.getlength(cut[-1]) <= 150
    assert wrap("", font, 150) == []
