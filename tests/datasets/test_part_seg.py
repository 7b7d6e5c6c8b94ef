"""Things and parts in COCO files, by hand (tests/formats.py holds them against the official loader)."""

import json

import numpy as np
import pytest

from datasets.part_seg import split_name
from datasets.sample import SampleOptions
from datasets.sem_seg import open_sem_seg

ALL = SampleOptions(num_classes_per_sample=99)
LEFT, RIGHT = [[0, 0, 3, 0, 3, 8, 0, 8]], [[3, 0, 6, 0, 6, 8, 3, 8]]


class PacoTree:
    """A PACO-LVIS of one picture, 8 px high and 6 wide."""

    def __init__(self, root):
        self.root = root
        self.picture = {"id": 1, "file_name": "train2017/a.jpg", "height": 8, "width": 6}
        self.annotations = [
            {"id": 1, "image_id": 1, "category_id": 3, "segmentation": LEFT},
            {"id": 2, "image_id": 1, "category_id": 4, "segmentation": LEFT},
            {"id": 3, "image_id": 1, "category_id": 4, "segmentation": RIGHT},
        ]
        self.categories = [{"id": 3, "name": "box_(container)"}, {"id": 4, "name": "car_(automobile):wheel"}]

    def write(self):
        path = self.root / "vlpart/paco/annotations/paco_lvis_v1_train.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        tables = {"images": [self.picture], "annotations": self.annotations, "categories": self.categories}
        path.write_text(json.dumps(tables))
        return self


@pytest.fixture
def paco(tmp_path, save_picture):
    save_picture(tmp_path / "coco/train2017/a.jpg", np.zeros((8, 6, 3), np.uint8))
    return PacoTree(tmp_path).write()


def draw(tree, seed=0):
    return open_sem_seg(tree.root, "paco_lvis", ALL).sample(0, np.random.default_rng(seed))


def test_all_instances_of_a_part_are_asked_for_together(paco):
    sample = draw(paco)
    areas = {name.split()[0]: int(mask.sum()) for name, mask in zip(sample.names, sample.masks, strict=True)}
    assert areas == {"box": 24, "car": 48} or areas == {"box": 24, "wheel": 48}


def test_a_part_is_named_in_both_ways(paco):
    questions = {turn.text for seed in range(40) for c in draw(paco, seed).conversations for turn in c.turns[:1]}
    assert any("car wheel in this image" in question for question in questions)
    assert any("the wheel of the car in this image" in question for question in questions)
    assert not any("container" in question for question in questions)


@pytest.mark.parametrize(
    ("category", "words"),
    [("box_(container)", ["box"]), ("trash_can", ["trash_can"]), ("chair:seat_(top)", ["chair", "seat"])],
)
def test_word_senses_are_cut_off(category, words):
    assert split_name(category, "x", only_parts=False) == words


@pytest.mark.parametrize(("category", "only_parts"), [("dog", True), ("a:b:c", False), ("dog:", True)])
def test_a_category_of_another_form_is_refused(category, only_parts):
    with pytest.raises(ValueError, match=r"x: "):
        split_name(category, "x", only_parts)


def test_a_picture_without_annotations_is_no_sample(paco):
    paco.annotations.clear()
    paco.write()
    with pytest.raises(ValueError, match="annotates no thing and no part"):
        draw(paco)


def test_an_annotation_of_an_unknown_category_is_refused(paco):
    paco.categories.pop()
    paco.write()
    with pytest.raises(ValueError, match=r"train\.json: annotation 2: category 4 is not in the file"):
        draw(paco)


def test_a_picture_name_that_leads_out_is_refused(paco):
    paco.picture["file_name"] = "../../etc/passwd"
    paco.write()
    with pytest.raises(ValueError, match=r"image 1: file name .*passwd.* leads out of"):
        draw(paco)
