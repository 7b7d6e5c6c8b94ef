"""No picture is for training in one format and held out in another, and pairs stay held out everywhere."""

import hashlib
import json
import re

import pytest
from synthetic_reader import read_refs

from datasets.synthetic.catalog import HELD_OUT_PAIRS

REFER = ("refclef/refs(unc).p", "refcoco/refs(unc).p", "refcoco+/refs(unc).p", "refcocog/refs(umd).p")
REFER += ("refcocog/refs(google).p", "grefcoco/grefs(unc).json")


def _pictures(world, folder):
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in (world / folder).rglob("*.jpg")}


@pytest.fixture(scope="module")
def split_of_picture(world, record):
    """Hash of a picture -> its split in the world."""
    images = world / "refer_seg/images/mscoco/images/train2014"
    return {
        hashlib.sha256((images / f"COCO_train2014_{number:012d}.jpg").read_bytes()).hexdigest(): split
        for split, numbers in record["splits"].items()
        for number in numbers
    }


def test_folders_for_training_hold_no_picture_that_is_held_out(world, split_of_picture):
    assert len(split_of_picture) == 40
    for folder in ("ade20k", "coco/train2017", "mapillary", "vlpart/pascal_part", "reason_seg/ReasonSeg/train"):
        pictures = _pictures(world, folder)
        assert pictures, folder
        assert {split_of_picture[picture] for picture in pictures} == {"train"}, folder


def test_folders_for_evaluation_hold_the_splits_that_they_name(world, split_of_picture):
    for folder, splits in {"val": {"val"}, "test": {"testA", "testB"}}.items():
        assert {split_of_picture[p] for p in _pictures(world, f"reason_seg/ReasonSeg/{folder}")} == splits


@pytest.mark.parametrize("file", REFER)
def test_refer_datasets_have_the_splits_of_the_world(world, record, file):
    names = {
        "refclef": {"testAB": "testA", "testC": "composition"},
        "refcocog/refs(umd).p": {"test": "testA testB"},
        "refcocog/refs(google).p": {"val": "val testA testB"},
    }
    renamed = {**names.get(file.split("/")[0], {}), **names.get(file, {})}
    world_split = {i: split for split, numbers in record["splits"].items() for i in numbers}
    refs = read_refs(world / "refer_seg" / file)
    for ref in refs:
        assert world_split[ref["image_id"]] in renamed.get(ref["split"], ref["split"]).split()
    held_out = {split for split in {ref["split"] for ref in refs} if split != "train"}
    assert held_out >= (
        {"val"} if "google" in file else {"val", "test"} if "umd" in file else {"val", "testA", "testB"}
    )


def test_refclef_has_a_split_that_counts_for_two(world):
    refs = read_refs(world / "refer_seg/refclef/refs(unc).p")
    images = {split: {r["image_id"] for r in refs if r["split"] == split} for split in ("testA", "testAB", "testB")}
    assert images == {"testA": {2}, "testAB": {22}, "testB": {3, 23}}


def test_refclef_pictures_are_those_of_the_world(world, split_of_picture):
    instances = json.loads((world / "refer_seg/refclef/instances.json").read_text())
    split_of_id = {ref["image_id"]: ref["split"] for ref in read_refs(world / "refer_seg/refclef/refs(unc).p")}
    for image in instances["images"]:
        content = (world / "refer_seg/images/saiapr_tc-12" / image["file_name"]).read_bytes()
        is_training = split_of_picture[hashlib.sha256(content).hexdigest()] == "train"
        assert is_training == (split_of_id[image["id"]] == "train")


@pytest.mark.parametrize("file", REFER)
def test_no_sentence_of_training_names_a_pair_that_is_held_out(world, file):
    pairs = [re.compile(rf"\b{colour} {cls}(s|es)?\b|\b{cls}\b.* (in|is) {colour}\b") for cls, colour in HELD_OUT_PAIRS]
    for ref in read_refs(world / "refer_seg" / file):
        if ref["split"] == "train":
            for sentence in ref["sentences"]:
                assert not any(pair.search(sentence["sent"]) for pair in pairs), sentence["sent"]
