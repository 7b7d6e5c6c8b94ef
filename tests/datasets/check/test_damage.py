"""Every damage is named with its file and record, and hides nothing else."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from damages import (
    Damage,
    Hostile,
    bomb,
    copy,
    cut,
    delete,
    drop,
    json_edit,
    label,
    put,
    refs_edit,
    remove,
    repeat,
    size_of,
    with_value,
    write,
)

ADE = "ade20k/annotations/training/ADE_train_00000001.png"
ADE_IMAGE = "ade20k/images/training/ADE_train_00000001.jpg"
STUFF = "cocostuff/train2017/000000000009.png"
CONFIG = "mapillary/config_v2.0.json"
PACO = "vlpart/paco/annotations/paco_lvis_v1_train.json"
PASCAL = "vlpart/pascal_part/train.json"
REFS = "refer_seg/refcoco/refs(unc).p"
INSTANCES = "refer_seg/refcoco/instances.json"
TRAIN2014 = "refer_seg/images/mscoco/images/train2014/"
GREFS = "refer_seg/grefcoco/grefs(unc).json"
LLAVA = "llava_dataset/llava_instruct_150k.json"
REASON = "reason_seg/ReasonSeg/train/1001_aaa_o"
EXPLAINED = "reason_seg/ReasonSeg/explanatory/train.json"


def to_train(refs: list) -> None:
    """A ref of val whose picture is one of train."""
    ref = next(ref for ref in refs if ref["split"] == "val")
    refs.append(ref | {"ref_id": 99, "split": "train"})


ESCAPE = "../../etc/passwd"
OUTSIDE = [[900, 900, 990, 900, 990, 990]]

# fmt: off
DAMAGES = {
    # pictures and label maps
    "picture missing": Damage(remove(ADE_IMAGE), "missing picture", ADE, says="ADE_train_00000001.jpg"),
    "label map missing": Damage(remove(ADE), "missing label map", ADE_IMAGE, says="ADE_train_00000001.png"),
    "picture cut off": Damage(cut(ADE_IMAGE), "picture", ADE_IMAGE, says="cannot be read"),
    "picture empty": Damage(write(ADE_IMAGE, b""), "picture", ADE_IMAGE),
    "picture is text": Damage(write(ADE_IMAGE, b"<html>404</html>"), "picture", ADE_IMAGE),
    "label map cut off": Damage(cut(ADE), "label map", ADE),
    "label map of another size": Damage(label(ADE, lambda ids: ids[:-3]), "size", ADE, says="pixels, but"),
    "label map in colour": Damage(label(ADE, lambda ids: np.dstack([ids] * 3)), "label map", ADE, says="mode RGB"),
    "ade label unknown": Damage(label(ADE, lambda ids: with_value(ids, 200)), "label", ADE, says="200"),
    "stuff label unknown": Damage(label(STUFF, lambda ids: with_value(ids, 182)), "label", STUFF, says="182"),
    "mapillary class list too short": Damage(
        json_edit(CONFIG, lambda c: c["labels"].__delitem__(slice(12, None))), "label", "Zq99.png", says="12"
    ),
    "mapillary config broken": Damage(write(CONFIG, b'{"labels": ['), "json", CONFIG, says="not valid JSON"),
    "mapillary label without name": Damage(
        json_edit(CONFIG, delete("labels", 3, "readable")), "field", CONFIG, "labels[3]"
    ),
    "huge declared size": Damage(bomb(ADE), "label map", ADE, says="limit of 150 megapixels"),
    "just over the limit": Damage(bomb(ADE, 15_001, 10_000), "label map", ADE, says="limit of 150 megapixels"),
    "stuff picture missing": Damage(remove("coco/train2017/000000000030.jpg"), "missing picture", "000000000030.png"),
    "images folder missing": Damage(drop("ade20k/images/training"), "layout", "ade20k/images/training"),
    # object and part annotations
    "paco picture missing": Damage(
        remove("coco/train2017/000000000034.jpg"), "missing picture", "000000000034.jpg", "image 34 of ",
        data="paco_lvis"
    ),
    "paco name leads out": Damage(
        json_edit(PACO, put("images", 0, "file_name", ESCAPE)), "image record", PACO, "image 34", "leads out of"
    ),
    "paco id twice": Damage(json_edit(PACO, repeat("annotations")), "duplicate id", PACO, "annotation 1"),
    "paco category unknown": Damage(
        json_edit(PACO, put("annotations", 0, "category_id", 999)), "label", PACO, "annotation 1", "category 999"
    ),
    "paco segmentation of wrong type": Damage(
        json_edit(PACO, put("annotations", 0, "segmentation", "x")), "annotation", PACO, "annotation 1", "segmentation"
    ),
    "pascal name without part": Damage(
        json_edit(PASCAL, put("categories", 0, "name", "dog")), "category", PASCAL, "category 1", "object:part"
    ),
    "pascal run lengths of another size": Damage(
        json_edit(PASCAL, put("annotations", 1, "segmentation", "size", [7, 9])), "segmentation", PASCAL, "annotation 2"
    ),
    "pascal image not listed": Damage(
        json_edit(PASCAL, delete("images", 0)), "link", PASCAL, "annotation 1", "image 1"
    ),
    "pascal table missing": Damage(json_edit(PASCAL, delete("categories")), "field", PASCAL, "", "categories"),
    # referring
    "ref picture missing": Damage(
        remove(TRAIN2014 + "COCO_train2014_000000000030.jpg"), "missing picture", "0030.jpg", "image 30 of",
        data="refcoco"
    ),
    "ref picture of another size": Damage(
        size_of(TRAIN2014 + "COCO_train2014_000000000030.jpg", 70, 64), "size", INSTANCES, "image 30", "70 x 64"
    ),
    "polygon outside": Damage(
        json_edit(INSTANCES, put("annotations", 0, "segmentation", OUTSIDE)), "segmentation", INSTANCES,
        "annotation 100"
    ),
    "polygon of two points": Damage(
        json_edit(INSTANCES, put("annotations", 0, "segmentation", [[1, 2, 3, 4]])),
        "segmentation", INSTANCES, "annotation 100", "no area",
    ),
    "polygon not finite": Damage(
        json_edit(INSTANCES, put("annotations", 0, "segmentation", 0, 0, float("nan"))),
        "segmentation", INSTANCES, "annotation 100", "finite",
    ),
    "ref name leads out": Damage(
        json_edit(INSTANCES, put("images", 0, "file_name", ESCAPE)), "image record", INSTANCES, "image 9",
        "leads out of"
    ),
    "image size of wrong type": Damage(
        json_edit(INSTANCES, put("images", 0, "height", "80")), "image record", INSTANCES, "image 9", "height"
    ),
    "image id twice": Damage(json_edit(INSTANCES, repeat("images")), "duplicate id", INSTANCES, "image 9"),
    "instances empty": Damage(write(INSTANCES, b""), "json", INSTANCES, says="empty"),
    "instances missing": Damage(remove(INSTANCES), "layout", INSTANCES),
    "instances a list": Damage(write(INSTANCES, b"[]"), "field", INSTANCES),
    "ref id twice": Damage(refs_edit(REFS, lambda refs: refs.append(refs[0])), "duplicate id", REFS, "ref 0"),
    "ref to no annotation": Damage(refs_edit(REFS, put(0, "ann_id", 12345)), "link", REFS, "ref 0", "annotation 12345"),
    "ref to another image": Damage(refs_edit(REFS, put(0, "image_id", 30)), "link", REFS, "ref 0", "of image 9"),
    "ref without split": Damage(refs_edit(REFS, delete(0, "split")), "ref", REFS, "ref 0", "split"),
    "sentence a number": Damage(
        refs_edit(REFS, put(0, "sentences", 0, "sent", 7)), "sentence", REFS, "ref 0: sentences[0]"
    ),
    "no sentence in a split": Damage(
        refs_edit(REFS, lambda refs: [ref.update(sentences=[]) for ref in refs] and None), "sentence", REFS, "split train"
    ),
    "sentence with a control word": Damage(
        refs_edit(REFS, put(0, "sentences", 0, "sent", "the [SEG]")), "sentence", REFS, "ref 0: sentences[0]", "[SEG]"
    ),
    "train picture in val": Damage(refs_edit(REFS, to_train), "leak", REFS, "image 34", "also in train"),
    "hostile pickle": Damage(write(REFS, pickle.dumps([Hostile()])), "pickle", REFS, says="system"),
    "pickle cut off": Damage(cut(REFS), "pickle", REFS, says="not a readable pickle"),
    "no refs file": Damage(remove(REFS), "layout", "refer_seg/refcoco", data="refcoco"),
    "no_target with a target": Damage(json_edit(GREFS, put(2, "ann_id", [500])), "ref", GREFS, "ref 2", "no_target"),
    "target with no_target": Damage(json_edit(GREFS, put(0, "ann_id", [-1])), "ref", GREFS, "ref 0", "no_target"),
    "-1 beside a target": Damage(json_edit(GREFS, put(1, "ann_id", [500, -1])), "ref", GREFS, "ref 1", "-1"),
    # talking
    "turns do not alternate": Damage(
        json_edit(LLAVA, put(0, "conversations", 2, "from", "gpt")), "conversation", LLAVA, "record 0", "alternates"
    ),
    "last question open": Damage(
        json_edit(LLAVA, lambda c: c[1]["conversations"].__delitem__(-1)), "conversation", LLAVA, "record 1",
        "no answer"
    ),
    "conversation without image": Damage(
        json_edit(LLAVA, delete(0, "image")), "image record", LLAVA, "record 0", "image"
    ),
    "talk picture leads out": Damage(
        json_edit(LLAVA, put(0, "image", ESCAPE)), "image record", LLAVA, "record 0", "leads out"
    ),
    "talk picture missing": Damage(
        json_edit(LLAVA, put(0, "image", "no.jpg")), "missing picture", "no.jpg", "record 0 of",
        data="llava_instruct_150k"
    ),
    "conversations of a wrong type": Damage(json_edit(LLAVA, lambda c: {"a": 1}), "field", LLAVA),
    "conversation a string": Damage(json_edit(LLAVA, put(2, "hello")), "conversation", LLAVA, "record 2"),
    # reasoning
    "reason json missing": Damage(remove(f"{REASON}.json"), "missing json", f"{REASON}.jpg"),
    "reason picture missing": Damage(remove(f"{REASON}.jpg"), "missing picture", f"{REASON}.json"),
    "reason picture cut off": Damage(cut(f"{REASON}.jpg"), "picture", f"{REASON}.jpg"),
    "reason json in no encoding": Damage(
        write(f"{REASON}.json", b'{"a": "\x81\x8d"}'), "reasoning record", f"{REASON}.json"
    ),
    "reason json nested": Damage(
        write(f"{REASON}.json", b"[" * 100_000), "reasoning record", f"{REASON}.json", says="nested"
    ),
    "reason text empty": Damage(json_edit(f"{REASON}.json", put("text", [""])), "reasoning record", f"{REASON}.json"),
    "reason polygon outside": Damage(
        json_edit(f"{REASON}.json", put("shapes", 0, "points", [[900, 900], [990, 900], [990, 990]])),
        "reasoning record", f"{REASON}.json", says="shapes[0]",
    ),
    "reason picture in val": Damage(
        copy(f"{REASON}.jpg", "reason_seg/ReasonSeg/val/2001_ddd_o.jpg"), "leak", "val/2001_ddd_o.jpg",
        says="same content"
    ),
    "explanation without image": Damage(json_edit(EXPLAINED, delete(0, "image")), "explanation", EXPLAINED, "record 0"),
    "explanation of no picture": Damage(
        json_edit(EXPLAINED, put(1, "image", "no.jpg")), "explanation", EXPLAINED, "record 1", "no.jpg"
    ),
    "explanation leads out": Damage(
        json_edit(EXPLAINED, put(1, "image", ESCAPE)), "explanation", EXPLAINED, "record 1"
    ),
}
# fmt: on


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_named_with_its_file_and_record(tree, diagnose, tmp_path, monkeypatch, name):
    damage = DAMAGES[name]
    monkeypatch.chdir(tmp_path)
    damage.do(tree)
    verdict = diagnose(tree.root, *(("--data", damage.data) if damage.data else ()))
    assert verdict.code == 1
    assert not [problem for problem in verdict.problems if problem["kind"] == "unexpected"]
    found = [
        problem
        for problem in verdict.problems
        if problem["kind"] == damage.kind
        and problem["file"].endswith(damage.file)
        and problem["record"].startswith(damage.record)
        and damage.says in problem["what"]
    ]
    assert found, verdict.problems
    assert all(problem["mend"] for problem in found)
    assert Path(damage.file).name in verdict.printed
    assert not Path("pwned").exists()


def test_all_damages_of_a_tree_are_found_together(tree, diagnose):
    """One damage does not hide another: of those that leave the others' files alone."""
    names = ["ade label unknown", "stuff label unknown", "paco id twice", "pascal name without part", "polygon outside"]
    names += ["ref id twice", "no_target with a target", "last question open", "reason text empty"]
    for name in names:
        DAMAGES[name].do(tree)
    verdict = diagnose(tree.root)
    for name in names:
        kinds = [problem["kind"] for problem in verdict.problems if problem["file"].endswith(DAMAGES[name].file)]
        assert DAMAGES[name].kind in kinds, name
