import cv2
import numpy as np
import pytest

from lisa.results import PALETTE, Answer, overlay_masks, save_masks

IMAGE = np.full((20, 30, 3), 100, np.uint8)


def answer(text, count):
    masks = np.zeros((count, 20, 30), bool)
    for k in range(count):
        masks[k, 5 : 10 + k, 5:20] = True
    return Answer(text=text, masks=masks, scores=np.full(count, 0.5, np.float32))


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
    written = save_masks(given, IMAGE, tmp_path / "new" / "folder", "scene")
    assert [path.name for path in written] == ["scene_mask_0.png", "scene_mask_1.png", "scene_overlay.png"]
    for path, mask in zip(written, given.masks, strict=False):
        np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), mask.astype(np.uint8) * 255)
    overlay = cv2.cvtColor(cv2.imread(str(written[-1])), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(overlay[:20, :30], overlay_masks(IMAGE, given.masks))


def test_an_answer_without_masks_writes_nothing(tmp_path):
    assert save_masks(answer("No.", 0), IMAGE, tmp_path, "scene") == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imwrite", lambda *_: False)
    with pytest.raises(OSError, match=r"cannot write .*scene_mask_0\.png"):
        save_masks(answer("[SEG].", 1), IMAGE, tmp_path, "scene")
