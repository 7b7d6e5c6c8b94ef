"""COCO instances of the user's own."""

from __future__ import annotations

import json

import numpy as np
import pytest

from datasets.validation import open_validation

BOX = [0, 0, 3, 0, 3, 8, 0, 8]


@pytest.fixture
def content() -> dict:
    """Two cats and a crowd of dogs in a.png; b.png has nothing."""
    return {
        "images": [
            {"id": 1, "file_name": "a.png", "height": 8, "width": 6},
            {"id": 2, "file_name": "b.png", "height": 8, "width": 6},
        ],
        "annotations": [
            {"id": 10, "image_id": 1, "category_id": 3, "segmentation": [BOX]},
            {"id": 11, "image_id": 1, "category_id": 3, "segmentation": [[5, 0, 6, 0, 6, 8, 5, 8]]},
            {
                "id": 12,
                "image_id": 1,
                "category_id": 4,
                "segmentation": {"size": [8, 6], "counts": [40, 8]},
                "iscrowd": 1,
            },
        ],
        "categories": [{"id": 3, "name": "Cat"}, {"id": 4, "name": "dog"}],
    }


@pytest.fixture
def write(tmp_path, content):
    def write_content():
        path = tmp_path / "my.json"
        path.write_text(json.dumps(content))
        return path

    return write_content


def test_each_category_is_asked_for_with_all_its_instances(picture, write, draw, rows):
    (sample,) = draw(write())
    masks = dict(zip(sample.names, sample.masks, strict=True))
    assert rows(masks["Cat"]) == ["xxx..x"] * 8
    assert rows(masks["dog"]) == [".....x"] * 8
    questions = dict(zip(sample.names, (c.turns[0].text for c in sample.conversations), strict=True))
    assert "cat" in questions["Cat"]
    assert questions["Cat"].startswith("<image>\n")
    assert all(c.num_seg == 1 for c in sample.conversations)
    assert sample.image_id == "1"


@pytest.mark.parametrize("folder", ["", "images/", "elsewhere/"])
def test_pictures_are_found_beside_the_file_in_images_or_where_told(tmp_path, save_picture, write, draw, folder):
    path = save_picture(tmp_path / f"{folder}a.png", np.zeros((8, 6, 3), np.uint8))
    source = f"{write()}|{path.parent}" if folder == "elsewhere/" else write()
    assert draw(source)[0].image_path == path


def test_a_record_of_the_stored_size_is_turned_with_its_picture(tmp_path, save_picture, content, write, draw):
    content["images"][0]["file_name"] = "a.jpg"
    save_picture(tmp_path / "a.jpg", np.zeros((8, 6, 3), np.uint8), orientation=6)
    content["annotations"][2:] = []
    (sample,) = draw(write())
    assert sample.masks.shape == (1, 6, 8)
    assert sample.masks[0].all(axis=1).tolist() == [True, True, True, False, False, True]


def test_validation_asks_in_the_fixed_words(picture, write):
    data = open_validation(picture.parent, f"own|{write()}")
    sample = data.sample(0)
    assert data.num_samples == 2
    assert [c.turns[1].text for c in sample.conversations] == ["[SEG].", "[SEG]."]
    assert sample.conversations[0].turns[0].text == (
        "<image>\n What is Cat in this image? Please output segmentation mask."
    )


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("images", {"file_name": "../../etc/passwd"}, r"'../../etc/passwd' leads out of"),
        ("images", {"file_name": "c.png"}, r"image 1: .*c\.png: no such picture"),
        ("images", {"height": 9}, "image 1: the record is for 6 x 9 pixels .*has 6 x 8; restore"),
        ("images", {"height": "8"}, "image 1: field 'height' is '8'"),
        ("images", {"id": 2}, r"images\[1\]: the id 2 occurs twice"),
        ("images", {"id": [1]}, r"images\[0\]: field 'id'"),
        ("annotations", {"image_id": 7}, "annotation 10: there is no 7 among the images"),
        ("annotations", {"category_id": 7}, "annotation 10: there is no 7 among the categories"),
        ("annotations", {"segmentation": []}, "annotation 10: the segmentation is empty"),
        ("annotations", {"segmentation": [[1, 2]]}, "annotation 10: a polygon of 1 point has no area"),
        (
            "annotations",
            {"segmentation": {"size": [6, 8], "counts": [48]}},
            "annotation 10: a run-length code is of size",
        ),
        ("annotations", {"segmentation": None}, "annotation 10: the segmentation is empty"),
        ("annotations", {"segmentation": ""}, "annotation 10: the segmentation is empty"),
        ("annotations", {"segmentation": "x"}, "annotation 10: field 'segmentation' is 'x'"),
        ("annotations", {"segmentation": [[0, 0, 3, 0, 3, 8, 1]]}, "annotation 10: .* 7 numbers, which is odd"),
        (
            "annotations",
            {"segmentation": {"size": [8, 6], "counts": [[40], [8, 1]]}},
            "annotation 10: the counts .* are not lengths",
        ),
        (
            "annotations",
            {"segmentation": {"size": [8, 6], "counts": "\ud800"}},
            "annotation 10: the counts .* are cut off or damaged",
        ),
        ("categories", {"name": ""}, "category 3: the text is empty"),
    ],
)
def test_a_wrong_record_is_named(picture, content, write, draw, table, change, message):
    content[table][0] |= change
    with pytest.raises((ValueError, FileNotFoundError), match=rf"my\.json(.|\n)*{message}"):
        draw(write())


def test_a_file_that_is_no_coco_or_has_no_annotation_is_refused(picture, content, write, draw):
    content["annotations"] = []
    with pytest.raises(ValueError, match="no picture is annotated"):
        draw(write())
    del content["images"]
    with pytest.raises(ValueError, match=r"my\.json: is no COCO instances"):
        draw(write())


def test_a_box_without_a_segmentation_is_told_as_such(picture, content, write, draw):
    del content["annotations"][0]["segmentation"]
    with pytest.raises(ValueError, match="annotation 10: the segmentation is empty, as tools write it for a box"):
        draw(write())
