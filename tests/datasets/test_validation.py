"""Validation sets, by hand (tests/formats.py holds them against the official loader)."""

import pytest

from datasets.validation import open_validation


def test_the_folder_of_the_referring_sets_may_be_given_itself(minidata):
    assert len(open_validation(minidata / "refer_seg", "refcoco|unc|val")) == 1


def test_things_of_a_referring_picture_are_whole_ones(refcoco):
    refcoco.annotations.append({"id": 6, "image_id": 1, "category_id": 4, "segmentation": [[0, 0, 3, 0, 3, 2]]})
    refcoco.annotations.append({"id": 7, "image_id": 1, "category_id": 3, "segmentation": [[0, 0, 6, 0, 6, 8, 0, 8]]})
    refcoco.write()
    sample = open_validation(refcoco.root, "refcoco|unc|train").sample(0)
    assert sample.things.sum(axis=(1, 2)).tolist() == [24, 48]
    assert sample.types == ("place", "")
    assert sample.names == ("left half", "left half")


def test_things_of_a_reasoning_picture_come_from_its_json(reason_seg):
    assert open_validation(reason_seg.root, "ReasonSeg|train").sample(0).things is None
    reason_seg.record["things"] = [{"label": "car", "points": [[0, 0], [2, 0], [2, 3], [0, 3]]}]
    reason_seg.record["type"] = "property"
    reason_seg.write()
    sample = open_validation(reason_seg.root, "ReasonSeg|train").sample(0)
    assert sample.things.sum(axis=(1, 2)).tolist() == [12]  # borders included
    assert sample.types == ("property",)
    reason_seg.record["things"] = []
    reason_seg.write()
    assert open_validation(reason_seg.root, "ReasonSeg|train").sample(0).things.shape == (0, 8, 6)


@pytest.mark.parametrize(("spec", "areas"), [("refcoco|unc|val", [671, 527, 464]), ("ReasonSeg|val", None)])
def test_train_masks_are_those_of_the_train_split(minidata, spec, areas):
    masks = list(open_validation(minidata, spec).train_masks(3))
    assert len(masks) == 3
    assert all(mask.dtype == bool for mask in masks)
    assert areas is None or [int(mask.sum()) for mask in masks] == areas


def test_without_a_train_split_there_are_no_train_masks(refcoco, reason_seg):
    refcoco.ref["split"] = "val"
    refcoco.write()
    assert list(open_validation(refcoco.root, "refcoco|unc|val").train_masks(9)) == []
    reason_seg.split.rename(reason_seg.folder / "val")
    assert list(open_validation(reason_seg.root, "ReasonSeg|val").train_masks(9)) == []


@pytest.mark.parametrize("spec", ["refcoco", "refcoco|unc|val|x", ""])
def test_a_spec_that_is_none_is_refused_with_an_example(tmp_path, spec):
    with pytest.raises(ValueError, match=r'no validation set .*write "refcoco'):
        open_validation(tmp_path, spec)


@pytest.mark.parametrize(("spec", "path"), [("refcoco|unc|val", "refs"), ("ReasonSeg|val", "reason_seg/ReasonSeg")])
def test_a_missing_tree_is_refused_at_the_start(tmp_path, spec, path):
    with pytest.raises(FileNotFoundError, match=rf"{path}.*not found(.|\n)*datasets\.synthetic"):
        open_validation(tmp_path, spec)


def test_an_unknown_split_is_refused_with_the_known_ones(minidata):
    with pytest.raises(ValueError, match="no split 'vall'; it has testA, testB, train, val"):
        open_validation(minidata, "refcoco|unc|vall")
    with pytest.raises(ValueError, match="no split 'vall'; it has train, val"):
        open_validation(minidata, "ReasonSeg|vall")
