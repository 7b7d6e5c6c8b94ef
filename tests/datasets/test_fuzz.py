"""Every record of the official formats ends in a sample, or in an error that names it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from fuzz import FUZZ, damaged, ends_well, segmentations, values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.images import Picture
from datasets.masks import parse_segmentation, rasterise
from datasets.reason_seg import read_reason_picture
from datasets.refer_seg import open_refer_seg
from datasets.sample import SampleOptions
from datasets.vqa import read_conversation

WITH_FILES = settings(FUZZ, suppress_health_check=[HealthCheck.function_scoped_fixture])
REF = {"ref_id": 70, "ann_id": 5, "image_id": 1, "split": "train", "sentences": [{"sent": "dark side", "type": "x"}]}
TABLES = {
    "picture": {"id": 1, "file_name": "a.jpg", "height": 8, "width": 6},
    "annotations": [{"id": 5, "image_id": 1, "category_id": 3, "segmentation": [[0, 0, 3, 0, 3, 8, 0, 8]]}],
    "categories": [{"id": 3, "name": "house"}],
}
REASON = {
    "text": ["Where is it dark?"],
    "is_sentence": True,
    "type": "light",
    "shapes": [{"label": "target", "points": [[0, 0], [3, 0], [3, 8], [0, 8]]}],
    "things": [{"label": "car", "points": [[0, 0], [2, 0], [2, 3], [0, 3]]}],
}
MESSAGES = [
    {"from": "human", "value": "<image>\nWhat is it?"},
    {"from": "gpt", "value": "A house."},
    {"from": "human", "value": "And this?"},
    {"from": "gpt", "value": "A tree."},
]


@FUZZ
@given(segmentations)
def test_a_segmentation_is_a_mask_or_an_error(segmentation):
    def read():
        mask = rasterise(parse_segmentation(segmentation, 8, 6), 8, 6)
        assert mask.shape == (8, 6)
        assert mask.dtype == bool

    ends_well(read, "")


@FUZZ
@given(st.lists(st.integers(0, 63), min_size=1, max_size=30))
def test_compressed_run_lengths_are_a_mask_or_an_error(codes):
    text = "".join(chr(48 + code) for code in codes)
    ends_well(lambda: rasterise(parse_segmentation({"size": [8, 6], "counts": text}, 8, 6), 8, 6), "run-length code")


@WITH_FILES
@given(ref=st.one_of(st.just(REF), damaged(REF), values), tables=st.one_of(st.just(TABLES), damaged(TABLES)))
def test_a_refer_record_is_a_sample_or_an_error_that_names_the_file(refcoco, ref, tables):
    refcoco.refs = [ref]
    refcoco.picture = tables.get("picture")
    refcoco.annotations, refcoco.categories = tables.get("annotations"), tables.get("categories")
    refcoco.write()

    def read():
        data = open_refer_seg(refcoco.root, "refcoco", SampleOptions())
        sample = data.sample(0, np.random.default_rng(0))
        assert sample.masks.shape[1:] == (8, 6)

    ends_well(read, "refs(unc).p", "instances.json")


@WITH_FILES
@given(record=st.one_of(damaged(REASON), values))
def test_a_reasoning_record_is_a_picture_or_an_error_that_names_the_file(reason_seg, record):
    reason_seg.record = record
    reason_seg.write()
    picture = Picture(path=Path("a.jpg"), pixels=np.zeros((8, 6, 3), np.uint8), orientation=1)

    def read():
        target, ignore = read_reason_picture(reason_seg.split / "a.jpg", reason_seg.split / "a.json").regions(picture)
        assert not (target & ignore).any()

    ends_well(read, "a.json")


@FUZZ
@given(st.one_of(damaged(MESSAGES), st.lists(values, max_size=3)))
def test_messages_are_a_conversation_or_an_error_that_names_the_record(messages):
    def read():
        conversation = read_conversation(json.loads(json.dumps(messages)), "vqa.json: record 4")
        assert conversation.num_seg == 0
        assert sum(turn.text.count("<image>") for turn in conversation.turns) == 1

    ends_well(read, "vqa.json: record 4")
