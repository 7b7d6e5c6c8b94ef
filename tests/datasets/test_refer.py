"""The refer format: joins, splits, and pickles that want too much."""

import json
import pickle

import numpy as np
import pytest

from datasets.refer import load_refer
from datasets.refs import read_refs, select_split


def load(tree, split="train", **options):
    return load_refer(tree.root, "refcoco", "unc", split, **options)


def test_a_ref_is_joined_with_its_picture_and_annotation(refcoco):
    (picture,) = load(refcoco)
    (target,) = picture.targets
    assert (picture.image_id, picture.path, picture.height, picture.width) == ("1", refcoco.image, 8, 6)
    assert [(s.text, s.kind) for s in target.sentences] == [("the left half", "place"), ("dark side", "")]
    assert target.name == "left half"
    assert target.parts[0].xy.tolist() == [0, 0, 3, 0, 3, 8, 0, 8]


def test_things_are_the_annotations_that_are_no_part_and_only_on_request(refcoco):
    roof = {"id": 6, "image_id": 1, "category_id": 4, "segmentation": [[0, 0, 3, 0, 3, 2]]}
    hole = {"id": 7, "image_id": 1, "category_id": 3, "segmentation": {"size": [8, 6], "counts": [40, 8]}}
    refcoco.annotations += [roof, hole]
    refcoco.write()
    (picture,) = load(refcoco, with_things=True)
    assert len(picture.things) == 2
    assert picture.things[1][0].counts.tolist() == [40, 8]
    assert load(refcoco)[0].things == ()


def test_a_picture_name_that_leads_out_of_the_folder_is_refused(refcoco):
    refcoco.picture["file_name"] = "../../../../../secret.jpg"
    refcoco.write()
    with pytest.raises(ValueError, match=r"instances\.json: image 1: file name .*secret.* leads out of"):
        load(refcoco)


def test_a_picture_that_is_not_on_disk_is_refused_at_the_start(refcoco):
    refcoco.image.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.jpg: not found, but .*instances\.json annotates it"):
        load(refcoco)


def change(record: str, key: str, value: object):
    return record, key, value


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change("ref", "ann_id", 9), r"refs\(unc\)\.p: ref 70: annotation 9 of image 1 is not in"),
        (change("ref", "image_id", 9), r"refs\(unc\)\.p: ref 70: image 9 is not in"),
        (change("ref", "sentences", []), "no ref of split 'train' has a sentence"),
        (change("ref", "sentences", [{"sent": " "}]), "no ref of split 'train' has a sentence"),
        (change("ref", "sentences", [{"sent": "a [SEG]"}]), r"ref 70: .*\[SEG\], a control word"),
        (change("ref", "sentences", [{"raw": "a"}]), "ref 70: no field 'sent'"),
        (change("ref", "split", None), "ref 70: field 'split' is None, not of type str"),
        (change("annotation", "image_id", 2), "annotation 5 is of image 2, which the file does not list"),
        (change("annotation", "segmentation", [[0, 0, 3, 3]]), r"instances\.json: annotation 5: .*2 points"),
        (
            change("annotation", "segmentation", [[9, 9, 12, 9, 12, 12]]),
            "annotation 5: .*outside the picture",
        ),
        (change("annotation", "segmentation", None), "annotation 5: field 'segmentation' is None"),
        (change("picture", "height", "8"), "image 1: field 'height' is '8', not of type int"),
        (change("picture", "height", 0), "image 1: a size of 6 x 0 pixels"),
    ],
)
def test_records_that_do_not_fit_are_refused_by_name(refcoco, damage, message):
    record, key, value = damage
    getattr(refcoco, record)[key] = value
    refcoco.write()
    with pytest.raises(ValueError, match=message):
        load(refcoco)


def test_an_id_that_occurs_twice_is_refused(refcoco):
    refcoco.annotations.append(refcoco.annotation | {"segmentation": []})
    refcoco.write()
    with pytest.raises(ValueError, match="1 ids of annotations occur twice"):
        load(refcoco)


@pytest.mark.parametrize("path", ["refs_path", "instances_path"])
def test_a_missing_file_is_refused_with_the_expected_tree(refcoco, path):
    getattr(refcoco, path).unlink()
    with pytest.raises(FileNotFoundError, match=r"refcoco/.*: not found(.|\n)*refer_seg/refcoco/instances\.json"):
        load(refcoco)


def test_a_missing_picture_folder_is_refused(refcoco):
    refcoco.image.unlink()
    refcoco.image.parent.rmdir()
    with pytest.raises(FileNotFoundError, match="train2014: not found"):
        load(refcoco)


def test_an_unknown_dataset_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="'refcoca'; known: refclef, refcoco, "):
        load_refer(tmp_path, "refcoca", "unc", "train")


def refs_of(*splits: str) -> list[dict]:
    return [{"ref_id": index, "split": split} for index, split in enumerate(splits)]


@pytest.mark.parametrize(
    ("split", "chosen"),
    [
        ("train", [0]),
        ("val", [1]),
        ("testA", [2, 4]),
        ("testB", [3, 4]),
        ("test", [2, 3, 4, 5]),
        ("composition", [6]),
    ],
)
def test_splits_follow_the_rules_of_the_reference(tmp_path, split, chosen):
    refs = refs_of("train", "val", "testA", "testB", "testAB", "test", "composition")
    assert [ref["ref_id"] for ref in select_split(refs, split, tmp_path)] == chosen


def test_an_unknown_split_is_refused_with_those_of_the_file(refcoco):
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p: no split 'vall'; it has train"):
        load(refcoco, "vall")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_data_is_read_from_every_pickle_protocol(tmp_path, protocol):
    refs = [{"ref_id": 1, "sent": "a café", "score": 0.5, "flag": True, "none": None, "ids": [1, -1]}]
    (tmp_path / "refs.p").write_bytes(pickle.dumps(refs, protocol=protocol))
    assert read_refs(tmp_path / "refs.p") == refs


@pytest.mark.parametrize(("data", "text"), [("café".encode(), "café"), ("café".encode("latin-1"), "café")])
def test_text_of_python_2_is_decoded(tmp_path, data, text):
    short_string = b"U" + bytes([len(data)]) + data  # opcode SHORT_BINSTRING
    (tmp_path / "refs.p").write_bytes(b"\x80\x02]" + short_string + b"a.")
    assert read_refs(tmp_path / "refs.p") == [text]


class Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (open, (str(self.trace), "w"))


def test_a_pickle_that_would_run_code_is_refused_by_name_and_runs_nothing(tmp_path):
    trace = tmp_path / "it_ran"
    (tmp_path / "refs.p").write_bytes(pickle.dumps([Malicious(trace)]))
    with pytest.raises(ValueError, match=r"refs\.p: refused, because the pickle asks for (io|_io)\.open"):
        read_refs(tmp_path / "refs.p")
    assert not trace.exists()


@pytest.mark.parametrize("value", [np.float64(1), np.zeros(2), range(3), ValueError("x")])
def test_a_pickle_that_needs_any_class_is_refused(tmp_path, value):
    (tmp_path / "refs.p").write_bytes(pickle.dumps([value]))
    with pytest.raises(ValueError, match="refused"):
        read_refs(tmp_path / "refs.p")


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_pickle_is_named(tmp_path, seed):
    whole = pickle.dumps(refs_of("train", "val"), protocol=0)
    rng = np.random.default_rng(seed)
    for _ in range(100):
        data = bytearray(whole[: rng.integers(len(whole))])
        for place in rng.integers(len(data), size=2) if data else ():
            data[place] = rng.integers(256)
        (tmp_path / "refs.p").write_bytes(bytes(data))
        try:
            read_refs(tmp_path / "refs.p")
        except ValueError as error:
            assert str(error).startswith(str(tmp_path / "refs.p"))  # noqa: PT017


@pytest.mark.parametrize("content", [[], {}, "refs"])
def test_a_pickle_without_refs_is_refused(tmp_path, content):
    (tmp_path / "refs.p").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="holds a list of refs, at least one"):
        read_refs(tmp_path / "refs.p")


def test_several_annotations_are_one_target_and_minus_one_is_none(refcoco):
    refcoco.annotations.append({"id": 6, "image_id": 1, "category_id": 3, "segmentation": [[3, 0, 6, 0, 6, 8, 3, 8]]})
    refcoco.ref["ann_id"] = [5, 6]
    refcoco.refs.append(refcoco.ref | {"ref_id": 71, "ann_id": [-1]})
    refcoco.write()
    both, none = load(refcoco)[0].targets
    assert (len(both.parts), len(none.parts)) == (2, 0)
    assert (both.name, none.name) == ("", "")


@pytest.mark.parametrize(
    ("ann_id", "message"),
    [([5, -1], "beside other annotations"), ([], "not an annotation or a list"), (["5"], "not an")],
)
def test_a_target_that_is_no_annotation_is_refused(refcoco, ann_id, message):
    refcoco.ref["ann_id"] = ann_id
    refcoco.write()
    with pytest.raises(ValueError, match=rf"ref 70: .*{message}"):
        load(refcoco)


def test_grefcoco_is_read_from_a_pickle_or_from_json(refcoco):
    folder = refcoco.root / "refer_seg/grefcoco"
    refcoco.refs_path.parent.rename(folder)
    (folder / "refs(unc).p").unlink()
    with pytest.raises(FileNotFoundError, match=r"grefs\(unc\)\.p: not found(.|\n)*or grefs\(unc\)\.json"):
        load_refer(refcoco.root, "grefcoco", "unc", "train")
    (folder / "grefs(unc).json").write_text(json.dumps(refcoco.refs))
    assert len(load_refer(refcoco.root, "grefcoco", "unc", "train")) == 1
    (folder / "grefs(unc).p").write_bytes(pickle.dumps([refcoco.ref | {"ref_id": 99, "ann_id": [7]}]))
    with pytest.raises(ValueError, match="ref 99: annotation 7"):
        load_refer(refcoco.root, "grefcoco", "unc", "train")


def test_refclef_has_pictures_and_run_lengths_of_its_own(minidata):
    pictures = load_refer(minidata, "refclef", "unc", "train")
    assert {picture.path.relative_to(minidata / "refer_seg/images").parts[0] for picture in pictures} == {
        "saiapr_tc-12"
    }
