"""Every record of own data ends in a sample, or in an error that names it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fuzz import FUZZ, damaged, ends_well, segmentations, values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

WITH_FILES = settings(FUZZ, suppress_health_check=[HealthCheck.function_scoped_fixture])
LINE = {
    "image": "a.png",
    "turns": [{"question": "Where?", "answer": "Here [SEG]."}, {"question": "Why?", "answer": "So [SEG]."}],
    "masks": [[0, 0, 3, 0, 3, 8, 0, 8], "mask.png"],
    "names": ["side", ""],
    "type": "place",
    "ignore": {"size": [8, 6], "counts": [40, 8]},
    "meta": {},
}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 6}],
    "annotations": [{"id": 10, "image_id": 1, "category_id": 3, "segmentation": [[0, 0, 3, 0, 3, 8, 0, 8]]}],
    "categories": [{"id": 3, "name": "cat"}],
}
LABELME = {
    "imagePath": "a.png",
    "imageHeight": 8,
    "imageWidth": 6,
    "shapes": [
        {"label": "left", "points": [[0, 0], [3, 0], [3, 8]], "shape_type": "polygon"},
        {"label": "box", "points": [[0, 0], [3, 3]], "shape_type": "rectangle"},
        {"label": "disc", "points": [[3, 3], [3, 4]], "shape_type": "circle"},
        {"label": "spot", "points": [[3, 3], [3, 3]], "shape_type": "mask", "mask": "aGFsbG8="},
    ],
}


@pytest.fixture
def mask(picture, save_mask):
    return save_mask(picture.parent / "mask.png", np.ones((8, 6), np.uint8))


@WITH_FILES
@given(record=st.one_of(damaged(LINE), values))
def test_a_line_is_a_sample_or_an_error_that_names_it(mask, write_lines, draw, record):
    ends_well(lambda: draw(write_lines(LINE, json.dumps(record))), "my.jsonl: line 2")


@WITH_FILES
@given(segmentation=segmentations)
def test_a_mask_of_a_line_is_drawn_or_named(mask, write_lines, draw, segmentation):
    line = {"image": "a.png", "question": "?", "answer": "[SEG]", "masks": [segmentation]}
    ends_well(lambda: draw(write_lines(line)), "my.jsonl: line 1: masks[0]")


@WITH_FILES
@given(text=st.binary(max_size=40))
def test_any_bytes_are_an_error_that_names_the_line(tmp_path, draw, text):
    (tmp_path / "my.jsonl").write_bytes(text)
    assert not ends_well(lambda: draw(tmp_path / "my.jsonl"), "my.jsonl: line", "my.jsonl: holds no line")


@WITH_FILES
@given(content=st.one_of(damaged(COCO), values))
def test_coco_instances_are_samples_or_an_error_that_names_the_file(mask, draw, content):
    source = mask.parent / "my.json"
    source.write_text(json.dumps(content))
    ends_well(lambda: draw(source), "my.json")


@WITH_FILES
@given(record=st.one_of(damaged(LABELME), values))
def test_a_labelme_record_is_a_sample_or_an_error_that_names_the_file(mask, draw, record):
    (mask.parent / "a.json").write_text(json.dumps(record))
    ends_well(lambda: draw(mask.parent), "a.json", f"{mask.parent}: none of its 1 json files")
