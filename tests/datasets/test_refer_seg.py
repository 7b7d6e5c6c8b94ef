"""Training on the refer format, by hand (tests/formats.py holds it against the official loader)."""

import numpy as np
import pytest

from datasets.refer_seg import open_refer_seg
from datasets.sample import SampleOptions

ALL = SampleOptions(num_classes_per_sample=99)


def draw(tree, options=ALL, seed=0):
    return open_refer_seg(tree.root, "refcoco", options).sample(0, np.random.default_rng(seed))


def test_a_hand_made_ref_gives_its_half_of_the_picture(refcoco):
    sample = draw(refcoco)
    assert sample.data == "refcoco|unc|train"
    assert sample.masks[:, :, :3].all()
    assert not sample.masks[:, :, 3:].any()
    assert not sample.ignore.any()
    assert sorted(sample.types) == ["", "place"]
    assert sample.names == ("left half", "left half")


def test_answers_name_the_target_by_its_first_sentence(refcoco):
    sample = draw(refcoco, SampleOptions(name_targets=1.0))
    assert all("the left half [SEG]." in conversation.turns[1].text for conversation in sample.conversations)


def test_at_most_the_asked_number_of_phrases(refcoco):
    assert len(draw(refcoco, SampleOptions(num_classes_per_sample=1)).conversations) == 1


def test_nothing_segmented_is_a_no_target_sample(refcoco):
    refcoco.annotation["segmentation"] = []
    refcoco.write()
    sample = draw(refcoco)
    assert sample.masks.shape == (2, 8, 6)
    assert not sample.masks.any()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_polygon_in_stored_geometry_is_turned_with_its_picture(refcoco, save_picture, orientation):
    pixels = np.zeros((8, 6, 3), np.uint8)
    pixels[:, :3] = 255  # the left half, as stored
    save_picture(refcoco.image, pixels, orientation)
    sample = draw(refcoco)
    assert sample.image.shape == (6, 8, 3)
    bright = sample.image[..., 0] > 128
    assert (sample.masks == bright).mean() > 0.95  # but for JPEG's blur at the edge


def test_a_polygon_in_displayed_geometry_is_not_turned(refcoco, save_picture):
    save_picture(refcoco.image, np.zeros((6, 8, 3), np.uint8), orientation=6)
    assert draw(refcoco).masks[:, :, :3].all()


def test_a_picture_of_another_size_than_annotated_is_refused(refcoco, save_picture):
    save_picture(refcoco.image, np.zeros((80, 60, 3), np.uint8))
    with pytest.raises(ValueError, match=r"instances\.json: image 1 is for 6 x 8 .*a\.jpg has 60 x 80"):
        draw(refcoco)


@pytest.mark.parametrize("size", [(1, 1), (50, 1), (1, 50)])
def test_tiny_and_narrow_pictures_work(refcoco, save_picture, size):
    height, width = size
    save_picture(refcoco.image, np.zeros((*size, 3), np.uint8))
    refcoco.picture |= {"height": height, "width": width}
    refcoco.annotation["segmentation"] = [[0, 0, width, 0, width, height, 0, height]]
    refcoco.write()
    assert draw(refcoco).masks.all()
