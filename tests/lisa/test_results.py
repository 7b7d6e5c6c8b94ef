from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lisa.drawing import PALETTE, overlay_masks
from lisa.results import Answer, Scores, save_masks

IMAGE = np.full((20, 30, 3), 100, np.uint8)


def answer(text, count):
    masks = np.zeros((count, 20, 30), bool)
    for k in range(count):
        masks[k, 5 : 10 + k, 5:20] = True
    half = np.full(count, 0.5, np.float32)
    scores = Scores(expected_iou=half, seg_probability=half)
    return Answer(text=text, masks=masks, scores=scores, image=IMAGE)


@pytest.mark.parametrize(
    ("text", "count", "phrases"),
    [
        ("It is the red ball [SEG].", 1, ["It is the red ball"]),
        ("The cup [SEG], the plate [SEG].", 2, ["The cup", "the plate"]),
        ("[SEG] and [SEG].", 2, ["", "and"]),
        ("There is none.", 0, []),
    ],
)
def test_phrases_are_the_words_that_lead_to_each_seg(text, count, phrases):
    assert answer(text, count).phrases == phrases


def test_an_overlay_colours_the_mask_and_leaves_the_picture_as_it_was():
    before = IMAGE.copy()
    drawn = overlay_masks(IMAGE, answer("", 1).masks, opacity=0.5)
    assert (drawn[7, 10] == (100 + PALETTE[0].astype(int)) // 2).all()
    assert (drawn[15, 25] == 100).all()
    np.testing.assert_array_equal(IMAGE, before)


def test_each_mask_has_a_colour_of_its_own_and_colours_repeat():
    masks = np.zeros((len(PALETTE) + 1, 20, 80), bool)
    for k, mask in enumerate(masks):
        mask[5:15, 8 * k : 8 * k + 7] = True
    drawn = overlay_masks(np.zeros((20, 80, 3), np.uint8), masks, opacity=1.0)
    colours = [tuple(drawn[10, 8 * k + 3].tolist()) for k in range(len(masks))]
    assert len(set(colours)) == len(PALETTE)
    assert colours[0] == colours[-1] == tuple(PALETTE[0].tolist())


def test_masks_are_written_losslessly_beside_one_overlay(tmp_path):
    given = answer("The cup [SEG] and the plate [SEG].", 2)
    written = save_masks(given, tmp_path / "new" / "folder", "scene")
    assert [path.name for path in written] == ["scene_mask_0.png", "scene_mask_1.png", "scene_overlay.png"]
    for path, mask in zip(written, given.masks, strict=False):
        np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), mask.astype(np.uint8) * 255)
    overlay = cv2.cvtColor(cv2.imread(str(written[-1])), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(overlay[:20, :30], overlay_masks(IMAGE, given.masks))


def test_an_answer_without_masks_writes_nothing(tmp_path):
    assert save_masks(answer("No.", 0), tmp_path, "scene") == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "scene_mask_0.png").mkdir()
    with pytest.raises(OSError, match=r"cannot write .*scene_mask_0\.png \(Is a directory"):
        save_masks(answer("[SEG].", 1), tmp_path, "scene")


def test_outlines_draw_the_mask_back_with_its_holes_filled():
    masks = np.zeros((3, 20, 30), bool)
    masks[0, 2:9, 3:12] = True
    masks[0, 4:6, 5:8] = False  # a hole
    masks[0, 15, 20] = True  # and one pixel elsewhere
    masks[1, 5:8, 0:30:2] = True  # lines of one pixel
    given = Answer(text="[SEG] [SEG] [SEG]", masks=masks, scores=answer("", 3).scores)
    filled = masks.copy()
    filled[0, 4:6, 5:8] = True
    assert [len(outlines) for outlines in given.polygons()] == [2, 15, 0]
    for outlines, mask in zip(given.polygons(), filled, strict=True):
        drawn = np.zeros((20, 30), np.uint8)
        if outlines:
            cv2.fillPoly(drawn, outlines, 1)
        np.testing.assert_array_equal(drawn.astype(bool), mask)


def test_coco_of_several_answers_numbers_pictures_categories_and_annotations():
    from lisa.formats import coco_instances

    answers = [
        replace(answer("The cup [SEG] and the plate [SEG].", 2), question="what?", image_name="1.png"),
        replace(answer("No.", 0), question="who?", image_name="2.png"),
        replace(answer("[SEG].", 1), question="what?", image_name="3.png"),
    ]
    coco = coco_instances(answers)
    assert coco["images"] == [
        {"id": k, "file_name": f"{k}.png", "height": 20, "width": 30, "answers": [{"question": asked, "answer": said}]}
        for k, asked, said in (
            (1, "what?", "The cup [SEG] and the plate [SEG]."),
            (2, "who?", "No."),
            (3, "what?", "[SEG]."),
        )
    ]
    assert coco["categories"] == [{"id": 1, "name": "what?", "supercategory": ""}]
    assert coco["licenses"] == []
    assert coco["info"]["version"] == "1.0"
    assert [(a["id"], a["image_id"], a["category_id"], a["phrase"]) for a in coco["annotations"]] == [
        (1, 1, 1, "The cup"),
        (2, 1, 1, "and the plate"),
        (3, 3, 1, ""),
    ]
    assert coco["annotations"][0]["bbox"] == [5, 5, 15, 5]
    assert coco["annotations"][0]["area"] == 75


def test_an_answer_without_its_picture_cannot_be_drawn_and_says_so():
    with pytest.raises(ValueError, match="came without its picture"):
        replace(answer("[SEG]", 1), image=None).plot()
    assert repr(answer("[SEG]", 1)) == "Answer('[SEG]', 1 masks of 20 x 30)"


def test_the_page_has_the_same_colours():
    page = Path(__file__).resolve().parents[2] / "lisa" / "serve" / "static" / "tools.js"
    colours = ", ".join(f'"#{red:02x}{green:02x}{blue:02x}"' for red, green, blue in PALETTE.tolist())
    assert f"const COLOURS = [{colours}];" in page.read_text(encoding="utf-8")
