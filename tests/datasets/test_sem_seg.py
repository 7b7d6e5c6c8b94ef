"""Label maps by hand (tests/formats.py holds the loaders against the official ones)."""

import json

import numpy as np
import pytest

from datasets.label_maps import read_class_names
from datasets.sample import NothingToAskError, SampleOptions
from datasets.sem_seg import open_sem_seg

ALL = SampleOptions(num_classes_per_sample=99)


def make_ade20k(root, save_picture, ids, orientation=None):
    """One picture, 2 px high and 3 wide as stored, with its label map."""
    save_picture(root / "ade20k/images/training/a.jpg", np.zeros((2, 3, 3), np.uint8), orientation)
    save_picture(root / "ade20k/annotations/training/a.png", np.array(ids, np.uint8))
    return root


def draw(root, options=ALL, seed=0):
    return open_sem_seg(root, "ade20k", options).sample(0, np.random.default_rng(seed))


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
    with pytest.raises(FileNotFoundError, match=r"training/\*\.jpg: not found"):
        open_sem_seg(tmp_path, "ade20k", ALL)


def test_an_unknown_dataset_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="'ade'; known: ade20k"):
        open_sem_seg(tmp_path, "ade", ALL)


def test_a_label_map_without_any_class_asks_for_another_draw(tmp_path, save_picture):
    with pytest.raises(NothingToAskError, match=r"a\.png: no pixel has a class"):
        draw(make_ade20k(tmp_path, save_picture, [[0, 0, 0], [0, 0, 255]]))


def make_cocostuff(root, save_picture, ids):
    save_picture(root / "coco/train2017/a.jpg", np.zeros((2, 3, 3), np.uint8))
    save_picture(root / "cocostuff/train2017/a.png", np.array(ids, np.uint8))
    return root


def test_cocostuff_counts_from_zero_and_ignores_the_classes_with_a_hyphen(tmp_path, save_picture):
    brick = read_class_names("cocostuff").index("wall-brick")
    make_cocostuff(tmp_path, save_picture, [[0, 0, brick], [1, 255, brick]])
    sample = open_sem_seg(tmp_path, "cocostuff", ALL).sample(0, np.random.default_rng(0))
    assert set(sample.names) == {"person", "bicycle"}
    assert sample.ignore.tolist() == [[False, False, True], [False, True, True]]


def test_a_picture_of_coco_without_stuff_is_left_out_but_no_label_map(tmp_path, save_picture):
    make_cocostuff(tmp_path, save_picture, [[0, 0, 0], [0, 0, 0]])
    save_picture(tmp_path / "coco/train2017/b.jpg", np.zeros((2, 3, 3), np.uint8))
    assert len(open_sem_seg(tmp_path, "cocostuff", ALL)) == 1
    save_picture(tmp_path / "cocostuff/train2017/c.png", np.zeros((2, 3), np.uint8))
    with pytest.raises(FileNotFoundError, match=r"c\.png: has no counterpart"):
        open_sem_seg(tmp_path, "cocostuff", ALL)


def test_a_value_beyond_the_classes_of_cocostuff_is_refused(tmp_path, save_picture):
    make_cocostuff(tmp_path, save_picture, [[0, 0, 0], [0, 0, 200]])
    with pytest.raises(ValueError, match="from 0 to 200, but cocostuff has 182 classes"):
        open_sem_seg(tmp_path, "cocostuff", ALL).sample(0, np.random.default_rng(0))


@pytest.fixture
def mapillary(tmp_path, save_picture):
    """One picture of three classes: Bird, Road (value 1) and Unlabeled."""
    save_picture(tmp_path / "mapillary/training/images/a.jpg", np.zeros((2, 3, 3), np.uint8))
    save_picture(tmp_path / "mapillary/training/v2.0/labels/a.png", np.array([[1, 1, 2], [0, 255, 2]], np.uint8))
    labels = [{"readable": name} for name in ("Bird", "Road", "Unlabeled")]
    (tmp_path / "mapillary/config_v2.0.json").write_text(json.dumps({"labels": labels}))
    return tmp_path


def test_mapillary_takes_its_names_from_its_config_and_never_asks_for_unlabeled(mapillary):
    sample = open_sem_seg(mapillary, "mapillary", ALL).sample(0, np.random.default_rng(0))
    masks = dict(zip(sample.names, sample.masks.tolist(), strict=True))
    assert masks == {
        "bird": [[False, False, False], [True, False, False]],
        "road": [[True, True, False], [False, False, False]],
    }
    assert sample.ignore.tolist() == [[False, False, True], [False, True, True]]


def test_a_config_without_names_is_refused_by_label(mapillary):
    (mapillary / "mapillary/config_v2.0.json").write_text(json.dumps({"labels": [{"readable": "Bird"}, {}]}))
    with pytest.raises(ValueError, match=r"config_v2\.0\.json: labels\[1\]: no field 'readable'"):
        open_sem_seg(mapillary, "mapillary", ALL)
