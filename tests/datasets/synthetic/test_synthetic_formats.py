"""Each official format: keys, types, ids that join, files that exist, masks that are what was drawn."""

import json
import pickle

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from datasets.synthetic.catalog import CLASS_BY_NAME, ade20k_ids
from datasets.synthetic.facts import canonical_name
from datasets.synthetic.outlines import has_hole


@pytest.fixture(scope="module")
def instances(world):
    return json.loads((world / "refer_seg/refcoco/instances.json").read_text())


@pytest.fixture(scope="module")
def refs(world):
    return pickle.loads((world / "refer_seg/refcoco/refs(unc).p").read_bytes())


def _decode(segmentation, height, width):
    if isinstance(segmentation[0], list):
        segmentation = coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.decode(coco_mask.merge(segmentation)).astype(bool)


def test_refcoco_ids_join_and_images_exist(world, instances, refs):
    images = {image["id"]: image for image in instances["images"]}
    annotations = {a["id"]: a for a in instances["annotations"]}
    categories = {c["id"]: c["name"] for c in instances["categories"]}
    assert len(images) == 40
    assert len(annotations) == len(instances["annotations"])
    for image in images.values():
        path = world / "refer_seg/images/mscoco/images/train2014" / image["file_name"]
        height, width = cv2.imread(str(path)).shape[:2]
        assert (height, width) == (image["height"], image["width"])
        assert 192 <= max(height, width) <= 320
        assert max(height, width) <= 1.61 * min(height, width)
    for ref in refs:
        annotation = annotations[ref["ann_id"]]
        assert annotation["image_id"] == ref["image_id"]
        assert annotation["category_id"] == ref["category_id"]
        assert ref["category_id"] in categories
    assert len({ref["ref_id"] for ref in refs}) == len(refs)
    sent_ids = [i for ref in refs for i in ref["sent_ids"]]
    assert len(set(sent_ids)) == len(sent_ids)


def test_refcoco_sentences_are_clean_and_typed(refs):
    for ref in refs:
        assert ref["sent_ids"] == [s["sent_id"] for s in ref["sentences"]]
        assert 1 <= len({s["sent"] for s in ref["sentences"]}) == len(ref["sentences"]) <= 3
        for sentence in ref["sentences"]:
            assert sentence["tokens"] == sentence["sent"].split()
            assert all(token.isalpha() and token.islower() for token in sentence["tokens"])
            assert sentence["type"] in {"class", "attribute", "place", "size", "relation", "property", "part"}


def test_refs_are_a_plain_pickle_of_protocol_two(world):
    content = (world / "refer_seg/refcoco/refs(unc).p").read_bytes()
    assert content[:2] == b"\x80\x02"
    assert b"c__builtin__" not in content
    assert b"datasets" not in content


def test_masks_of_annotations_are_what_was_drawn(instances, materials):
    by_id = {a["id"]: a for a in instances["annotations"]}
    rle = 0
    for material in materials[:40]:
        height, width = material.picture.image.shape[:2]
        for i, seen in enumerate(material.picture.things):
            annotation = by_id[material.image_id * 100 + i]
            mask = _decode(annotation["segmentation"], height, width)
            assert (mask & seen.mask).sum() / (mask | seen.mask).sum() >= 0.97
            assert annotation["area"] == seen.mask.sum()
            x, y, w, h = annotation["bbox"]
            box = np.zeros_like(mask)
            box[y : y + h, x : x + w] = True
            assert not (seen.mask & ~box).any()
            is_rle = isinstance(annotation["segmentation"][0], dict)
            assert is_rle == has_hole(seen.mask)
            rle += is_rle
    assert rle > 0


def test_masks_of_things_do_not_overlap_and_are_large_where_they_are_asked_for(materials):
    for material in materials:
        things = material.picture.things
        assert np.sum([seen.mask for seen in things], axis=0).max() <= 1
        for ref in material.refs:
            seen = things[ref.thing]
            mask = seen.parts[ref.part] if ref.part else seen.mask
            assert mask.sum() >= (80 if ref.part else 120)
            assert seen.area >= 0.35 * seen.full_area
            assert not (mask & ~seen.mask).any()


def test_ade20k_labels_are_official_and_only_of_training_pictures(world, materials):
    stems = sorted(p.stem for p in (world / "ade20k/images/training").glob("*.jpg"))
    assert stems == [f"ADE_train_{m.image_id:08d}" for m in materials[:40] if m.split == "train"]
    ids = ade20k_ids()
    for material in materials[:40]:
        if material.split != "train":
            continue
        path = world / "ade20k/annotations/training" / f"ADE_train_{material.image_id:08d}.png"
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert labels.dtype == np.uint8
        assert labels.shape == material.picture.image.shape[:2]
        for seen in material.picture.things:
            name = CLASS_BY_NAME[seen.thing.cls].ade20k
            assert set(np.unique(labels[seen.mask])) == {ids[name] if name else 0}


def test_llava_items_alternate_and_name_existing_pictures(world):
    items = json.loads((world / "llava_dataset/llava_instruct_150k.json").read_text())
    assert len(items) == 32
    for item in items:
        assert (world / "coco/train2017" / item["image"]).is_file()
        turns = item["conversations"]
        assert 4 <= len(turns) <= 10
        assert [turn["from"] for turn in turns] == ["human", "gpt"] * (len(turns) // 2)
        assert turns[0]["value"].startswith("<image>\n")
        assert sum("<image>" in turn["value"] for turn in turns) == 1


def test_reason_seg_shapes_are_the_targets(world, materials):
    root = world / "reason_seg/ReasonSeg"
    folders = {"train": "train", "val": "val", "testA": "test", "testB": "test"}
    for material in materials[:40]:
        if material.split not in folders or material.question is None:
            continue
        path = root / folders[material.split] / f"{material.image_id:012d}.json"
        assert path.with_suffix(".jpg").is_file()
        record = json.loads(path.read_text())
        question, picture = material.question, material.picture
        height, width = picture.image.shape[:2]
        polygons = [np.ravel(s["points"]).tolist() for s in record["shapes"] if s["label"] != "ignore"]
        target = np.any([picture.things[i].mask for i in question.targets], axis=0)
        mask = _decode(polygons, height, width)
        assert (mask & target).sum() / (mask | target).sum() >= 0.97
        labels = {s["label"] for s in record["shapes"]} - {"ignore"}
        assert labels == {canonical_name(picture, i) for i in question.targets}
        assert {s["label"] for s in record["things"]} == {
            canonical_name(picture, i) for i in range(len(picture.things))
        }
        assert 1 <= len(record["text"]) <= (3 if material.split == "train" else 1)
    assert not (root / "composition").exists()


def test_explanations_are_of_training_pictures(world):
    root = world / "reason_seg/ReasonSeg"
    listed = json.loads((root / "explanatory/train.json").read_text())
    assert listed
    for item in listed:
        assert set(item) == {"image", "query", "outputs"}
        assert (root / "train" / item["image"]).is_file()
