"""LabelMe folders."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image


def base64_png(array: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def shape(label: str, points: list, **more: object) -> dict:
    return {"label": label, "points": points, "group_id": None, "flags": {}, **more}


LEFT = shape("left", [[0, 0], [3, 0], [3, 8], [0, 8]], shape_type="polygon")


@pytest.fixture
def write(picture):
    def write_record(*shapes: dict, **more: object):
        record = {"version": "5.4.1", "imagePath": "a.png", "imageData": None, "imageHeight": 8, "imageWidth": 6}
        (picture.parent / "a.json").write_text(json.dumps(record | {"shapes": list(shapes)} | more))
        return picture.parent

    return write_record


def test_each_label_is_asked_for_with_all_its_shapes(write, draw, rows):
    top = shape("left", [[6, 1], [4, 0]], shape_type="rectangle")
    (sample,) = draw(write(LEFT, top, shape("low", [[0, 7], [6, 7], [6, 8], [0, 8]])))
    masks = dict(zip(sample.names, sample.masks, strict=True))
    assert rows(masks["left"]) == ["xxxxxx"] * 2 + ["xxxx.."] * 6  # LabelMe draws the border
    assert rows(masks["low"]) == ["......"] * 7 + ["xxxxxx"]
    assert sample.image_id == "a"


def test_a_circle_covers_its_area(tmp_path, save_picture, draw):
    save_picture(tmp_path / "a.png", np.zeros((100, 100, 3), np.uint8))
    record = {"imagePath": "a.png", "shapes": [shape("disc", [[50, 50], [80, 50]], shape_type="circle")]}
    (tmp_path / "a.json").write_text(json.dumps(record))
    (sample,) = draw(tmp_path)
    assert sample.masks.sum() == pytest.approx(np.pi * 30.5**2, rel=0.01)  # the border is drawn
    assert sample.masks[0, 50, 21]
    assert not sample.masks[0, 50, 19]


@pytest.mark.parametrize("corner", [0, 255])
def test_a_mask_is_pasted_into_its_box(write, draw, corner):
    crop = np.array([[255, 0, 255], [255, 255, corner]], np.uint8)
    (sample,) = draw(write(shape("spot", [[3, 6], [5, 7]], shape_type="mask", mask=base64_png(crop))))
    expected = np.zeros((8, 6), bool)
    expected[6:8, 3:6] = crop > 0
    np.testing.assert_array_equal(sample.masks[0], expected)


def test_labelme_s_own_labels_for_ignore_and_background(write, draw):
    (sample,) = draw(write(LEFT, LEFT | {"label": "__ignore__"}, LEFT | {"label": "_background_"}))
    assert sample.names == ("left",)
    assert sample.ignore.sum() == 32


def test_pictures_may_lie_in_another_folder(tmp_path, write, save_picture, draw):
    folder = write(LEFT, imagePath="..\\photos\\b.png")
    path = save_picture(tmp_path / "photos/b.png", np.zeros((8, 6, 3), np.uint8))
    assert draw(f"{folder}|{path.parent}")[0].image_path == path


def test_pictures_without_a_label_are_left_out(picture, save_picture, write, draw):
    save_picture(picture.parent / "b.png", np.zeros((8, 6, 3), np.uint8))
    (picture.parent / "b.json").write_text(json.dumps({"imagePath": "b.png", "shapes": []}))
    assert len(draw(write(LEFT))) == 1
    with pytest.raises(ValueError, match="none of its 2 json files has a shape to ask for"):
        draw(write())


@pytest.mark.parametrize(
    ("shapes", "more", "message"),
    [
        ([LEFT], {"imagePath": "../../etc/passwd"}, "leads out of .*; name the folder of the pictures"),
        ([LEFT], {"imagePath": "/etc/passwd"}, "leads out of"),
        ([LEFT], {"imagePath": "b.png"}, r"b\.png: no such picture"),
        ([LEFT], {"imageHeight": 9}, "the file is for 6 x 9 pixels"),
        ([LEFT], {"imageHeight": "8"}, "field 'imageHeight' is '8'"),
        ([LEFT], {"shapes": None}, "field 'shapes' is None"),
        ([LEFT, 5], {}, r"shapes\[1\]: no field 'label'"),
        ([LEFT | {"label": " "}], {}, r"shapes\[0\]: the text is empty"),
        ([LEFT | {"points": [[1, 2], [3]]}], {}, r"shapes\[0\]: points is a list of pairs"),
        ([LEFT | {"points": [[1, 2], [3, 4]]}], {}, r"shapes\[0\]: a polygon of 2 points"),
        ([LEFT | {"points": [[50, 2], [53, 4], [53, 2]]}], {}, r"shapes\[0\]: a polygon runs from x = 50 to 53"),
        ([LEFT | {"shape_type": "cuboid"}], {}, r"shapes\[0\]: a shape of type 'cuboid' is not known"),
        ([LEFT | {"shape_type": ["polygon"]}], {}, r"shapes\[0\]: a shape of type"),
        ([LEFT | {"shape_type": "circle"}], {}, r"shapes\[0\]: a circle is given by its centre"),
        ([LEFT | {"shape_type": "rectangle", "points": [[1, 1]]}], {}, r"shapes\[0\]: a rectangle is given by two"),
        ([shape("m", [[0, 0], [1, 1]], shape_type="mask")], {}, r"shapes\[0\]: no field 'mask'"),
        ([shape("m", [[0, 0], [1, 1]], shape_type="mask", mask="ü")], {}, r"shapes\[0\]: .*no PNG in base64"),
        ([shape("m", [[0, 0], [1, 1]], shape_type="mask", mask="aGFsbG8=")], {}, r"shapes\[0\]: .*no PNG in base64"),
        ([shape("m", [[0, 0], [6, 1]], shape_type="mask", mask="")], {}, r"shapes\[0\]: .*not inside the image"),
        ([shape("m", [[0, 0], [1e999, 1]], shape_type="mask", mask="")], {}, r"shapes\[0\]: .*not a finite number"),
        (
            [shape("m", [[0, 0], [1, 1]], shape_type="mask", mask=base64_png(np.ones((3, 2), np.uint8)))],
            {},
            r"shapes\[0\]: the mask of a shape has \(2, 3\) pixels, but its box \(2, 2\)",
        ),
    ],
)
def test_a_wrong_record_is_named(write, draw, shapes, more, message):
    with pytest.raises((ValueError, FileNotFoundError), match=rf"a\.json(.|\n)*{message}"):
        draw(write(*shapes, **more))
