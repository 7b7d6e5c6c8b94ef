"""ADE20K, held against the official loader."""

import numpy as np
import pytest

from datasets.sample import SampleOptions
from datasets.sem_seg import open_sem_seg
from lisa.conversation import TEMPLATES, write

ALL = SampleOptions(num_classes_per_sample=99)


def make_ade20k(root, save_picture, ids, orientation=None):
    """One picture, 2 px high and 3 wide as stored, with its label map."""
    save_picture(root / "ade20k/images/training/a.jpg", np.zeros((2, 3, 3), np.uint8), orientation)
    save_picture(root / "ade20k/annotations/training/a.png", np.array(ids, np.uint8))
    return root


def draw(root, options=ALL, seed=0):
    return open_sem_seg(root, "ade20k", options).sample(0, np.random.default_rng(seed))


def test_classes_masks_and_ignored_pixels_are_the_official_ones(minidata, official, official_masks):
    ade20k = open_sem_seg(minidata, "ade20k", ALL)
    assert len(ade20k) == 3
    for index in range(3):
        sample = ade20k.sample(index, np.random.default_rng(0))
        label = official_masks[f"ade20k/{index}/label"]
        assert sample.image.shape[:2] == label.shape
        assert {official["ade20k_classes"].index(name) for name in sample.names} == set(label[label != 255])
        for name, mask in zip(sample.names, sample.masks, strict=True):
            np.testing.assert_array_equal(mask, label == official["ade20k_classes"].index(name))
        np.testing.assert_array_equal(sample.ignore, label == 255)


def test_conversations_are_the_official_ones(minidata, official):
    ade20k = open_sem_seg(minidata, "ade20k", ALL)
    drawn = [ade20k.sample(i % 3, np.random.default_rng(i)) for i in range(1200)]
    texts = {
        "".join(span.text for span in write(conversation, TEMPLATES["llava_v1"]))
        for sample in drawn
        for conversation in sample.conversations
    }
    assert {text for item in official["ade20k"] for text in item["conversations"]} <= texts


def test_pixel_value_one_is_the_first_class_and_0_and_255_are_none(tmp_path, save_picture):
    sample = draw(make_ade20k(tmp_path, save_picture, [[0, 1, 1], [255, 1, 150]]))
    masks = dict(zip(sample.names, sample.masks.tolist(), strict=True))
    assert masks == {
        "wall": [[False, True, True], [False, True, False]],
        "flag": [[False, False, False], [False, False, True]],
    }
    assert sample.ignore.tolist() == [[True, False, False], [True, False, False]]
    assert (sample.data, sample.image_id) == ("ade20k", "a")


def test_at_most_the_asked_number_of_classes_none_twice(tmp_path, save_picture):
    root = make_ade20k(tmp_path, save_picture, [[1, 2, 3], [4, 5, 6]])
    for seed in range(20):
        names = draw(root, SampleOptions(num_classes_per_sample=4), seed).names
        assert len(set(names)) == len(names) == 4


def test_answers_name_the_class_where_asked_to(tmp_path, save_picture):
    root = make_ade20k(tmp_path, save_picture, [[5, 5, 5], [5, 5, 5]])
    conversation = draw(root, SampleOptions(name_targets=1.0)).conversations[0]
    assert "the tree [SEG]." in conversation.turns[1].text


def test_a_label_map_without_exif_is_turned_with_its_picture(tmp_path, save_picture):
    root = make_ade20k(tmp_path, save_picture, [[1, 1, 2], [1, 1, 1]], orientation=6)
    sample = draw(root)
    assert sample.image.shape == (3, 2, 3)
    assert sample.masks[sample.names.index("building")].tolist() == [
        [False, False],
        [False, False],
        [False, True],
    ]


@pytest.mark.parametrize("value", [151, 254])
def test_a_pixel_value_beyond_the_classes_is_refused(tmp_path, save_picture, value):
    with pytest.raises(ValueError, match=rf"a\.png: holds pixel values from 1 to {value}, but ade20k has 150"):
        draw(make_ade20k(tmp_path, save_picture, [[1, 1, 1], [1, 1, value]]))


def test_a_label_map_without_any_class_is_refused(tmp_path, save_picture):
    with pytest.raises(ValueError, match=r"a\.png: no pixel is labelled with a class"):
        draw(make_ade20k(tmp_path, save_picture, [[0, 0, 0], [0, 0, 255]]))


def test_a_label_map_of_another_size_is_refused(tmp_path, save_picture):
    root = make_ade20k(tmp_path, save_picture, [[1, 1], [1, 1]])
    with pytest.raises(ValueError, match=r"a\.png is for 2 x 2 pixels .* a\.jpg has 3 x 2|a\.png is for 2 x 2"):
        draw(root)


def test_a_missing_tree_is_refused_at_the_start(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ade20k/images/training: not found(.|\n)*datasets\.synthetic"):
        open_sem_seg(tmp_path, "ade20k", ALL)


@pytest.mark.parametrize("kind", ["images/training/a.jpg", "annotations/training/a.png"])
def test_a_picture_without_label_map_and_the_reverse_are_refused_at_the_start(tmp_path, save_picture, kind):
    root = make_ade20k(tmp_path, save_picture, [[1, 1, 1], [1, 1, 1]])
    save_picture(root / "ade20k/images/training/b.jpg", np.zeros((2, 3, 3), np.uint8))
    save_picture(root / "ade20k/annotations/training/b.png", np.ones((2, 3), np.uint8))
    (root / "ade20k" / kind).unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.(jpg|png): has no counterpart"):
        open_sem_seg(root, "ade20k", ALL)


def test_empty_folders_are_refused_at_the_start(tmp_path):
    (tmp_path / "ade20k/images/training").mkdir(parents=True)
    (tmp_path / "ade20k/annotations/training").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no picture"):
        open_sem_seg(tmp_path, "ade20k", ALL)


def test_an_unknown_dataset_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="'ade'; known: ade20k"):
        open_sem_seg(tmp_path, "ade", ALL)
