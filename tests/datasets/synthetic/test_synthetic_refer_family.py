"""refCLEF, refCOCO+, refCOCOg and gRefCOCO: ids that join, masks that decode, sentences true of their targets only."""

import json
import re

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from synthetic_reader import cell, centre, fitting_things, is_related, read_refs, singular

from datasets.synthetic.appearance import make_appearance_refs
from datasets.synthetic.catalog import HELD_OUT_PAIRS, NUMBERS, PROPERTIES
from datasets.synthetic.descriptions import make_descriptions
from datasets.synthetic.groups import make_groups
from datasets.synthetic.phrases import PROPERTY_CLAUSES
from datasets.synthetic.wordings import as_pattern, tables

FILES = {
    "refclef": ("refs(unc).p", "saiapr_tc-12"),
    "refcoco+": ("refs(unc).p", "mscoco/images/train2014"),
    "refcocog": ("refs(umd).p", "mscoco/images/train2014"),
    "grefcoco": ("grefs(unc).json", "mscoco/images/train2014"),
}
LOCATION_WORDS = {"left", "right", "leftmost", "rightmost", "top", "bottom", "middle", "centre", "corner", "highest"}
LOCATION_WORDS |= {"lowest", "above", "below", "under", "beside", "next", "behind", "front", "closest", "furthest"}
LOCATION_WORDS |= {"higher", "lower", "hidden", "partly"}


def _decode(segmentation, image):
    size = image["height"], image["width"]
    if isinstance(segmentation[0], list):
        segmentation = coco_mask.frPyObjects(segmentation, *size)
    return coco_mask.decode(coco_mask.merge(segmentation)).astype(bool)


@pytest.mark.parametrize("name", FILES)
def test_ids_join_masks_decode_and_pictures_exist(world, materials, name):
    file, images_folder = FILES[name]
    refs = read_refs(world / "refer_seg" / name / file)
    instances = json.loads((world / "refer_seg" / name / "instances.json").read_text())
    images = {image["id"]: image for image in instances["images"]}
    annotations = {a["id"]: a for a in instances["annotations"]}
    categories = {category["id"]: category["name"] for category in instances["categories"]}
    assert len(annotations) == len(instances["annotations"])
    assert len({ref["ref_id"] for ref in refs}) == len(refs)
    sent_ids = [i for ref in refs for i in ref["sent_ids"]]
    assert len(set(sent_ids)) == len(sent_ids)
    for image in images.values():
        assert (world / "refer_seg/images" / images_folder / image["file_name"]).is_file()
    for annotation in annotations.values():
        mask = _decode(annotation["segmentation"], images[annotation["image_id"]])
        *part, cls = categories[annotation["category_id"]].split(" of ")
        things = materials[annotation["image_id"] - 1].picture.things
        drawn = [s.parts[part[0]] if part else s.mask for s in things if s.thing.cls == cls]
        assert max((mask & d).sum() / (mask | d).sum() for d in drawn) >= 0.93
    for ref in refs:
        ids = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
        of_image = {a["image_id"] for a in (annotations[i] for i in ids if i != -1)}
        assert of_image <= {ref["image_id"]}
        assert ref["sentences"]
        assert [s["sent_id"] for s in ref["sentences"]] == ref["sent_ids"]


def test_refclef_masks_are_one_rle_for_each_visible_piece(world, materials):
    instances = json.loads((world / "refer_seg/refclef/instances.json").read_text())
    several = 0
    for annotation in instances["annotations"]:
        masks = [coco_mask.decode(rle) for rle in annotation["segmentation"]]
        assert np.sum(masks, axis=0).max() == 1
        assert np.sum(masks) == annotation["area"]
        several += len(masks) > 1
    assert several > 0


def test_sentences_are_lower_case_words(materials):
    for material in materials:
        refs = [*make_appearance_refs(material.picture), *make_descriptions(material.picture)]
        for ref in [*refs, *make_groups(material.picture, material.refs)]:
            texts = [sentence.text for sentence in ref.sentences]
            assert 1 <= len(set(texts)) == len(texts) <= 3
            assert all(re.fullmatch(r"[a-z]+( [a-z]+)*", text) for text in texts)


def test_kept_phrasings_never_occur_in_train(materials):
    kept = [as_pattern(phrasing) for wording in tables().values() for phrasing in wording.kept]
    held_out = 0
    for material in materials:
        refs = [*make_appearance_refs(material.picture), *make_descriptions(material.picture)]
        refs += make_groups(material.picture, material.refs)
        texts = [sentence.text for ref in refs for sentence in ref.sentences]
        hits = [text for text in texts if any(pattern.fullmatch(text) for pattern in kept)]
        assert material.split != "train" or not hits, hits
        held_out += len(hits)
    assert held_out > 50


def test_looks_alone_never_name_a_place_and_fit_one_thing(materials):
    kinds = {}
    for material in materials:
        picture = material.picture
        for ref in make_appearance_refs(picture):
            assert picture.things[ref.thing].clear
            for sentence in ref.sentences:
                words = sentence.text.split()
                assert not LOCATION_WORDS & set(words), sentence.text
                assert _by_looks(picture, ref, sentence) == [ref.thing], sentence.text
                kinds[sentence.type] = kinds.get(sentence.type, 0) + 1
    assert set(kinds) == {"class", "attribute", "size", "property", "part"}
    assert min(kinds.values()) > 15


def _by_looks(picture, ref, sentence):
    """The things that a sentence of refCOCO+ fits."""
    words = sentence.text.split()
    if sentence.type == "property":
        (name,) = [n for n, clauses in PROPERTY_CLAUSES.items() if sentence.text.endswith(clauses)]
        classes = PROPERTIES[name].yes | PROPERTIES[name].maybe
        return [i for i, seen in enumerate(picture.things) if seen.thing.cls in classes]
    if sentence.type == "part":
        assert words[0 if words[0] != "the" else 1] == ref.part
        words = words[words.index(ref.part) + 1 :]
    fitting = fitting_things(picture, words)
    if sentence.type != "size":
        return fitting
    assert len(fitting) > 1
    areas = {i: picture.things[i].mask.sum() for i in fitting}
    most = max if {"biggest", "largest", "bigger", "larger"} & set(words) else min
    return [i for i in fitting if areas[i] == most(areas.values())]


def test_descriptions_are_long_and_fit_one_thing(materials):
    checked = 0
    for material in materials:
        for ref in make_descriptions(material.picture):
            assert ref.part is None
            for sentence in ref.sentences:
                assert len(sentence.text.split()) >= 7
                assert _described(material.picture, sentence.text) == [ref.thing], sentence.text
                checked += 1
    assert checked > 800


def _described(picture, text):
    """The things that have the class and colour, and of which all clauses are true."""
    noun, clauses = re.fullmatch(r"(?:the one|the|an?) (\w+ \w+) (?:that|which) is (.+)", text).groups()
    fitting = fitting_things(picture, noun.split())
    parts = re.split(r" and also | and ", clauses)
    return [i for i in fitting if all(_is_true(picture, i, clause, fitting) for clause in parts)]


def _is_true(picture, index, clause, fitting):
    words = clause.split()
    if words[0] in ("furthest", "closest"):
        key = {"left": lambda c: c[0], "right": lambda c: -c[0], "top": lambda c: c[1], "bottom": lambda c: -c[1]}
        return min(fitting, key=lambda i: key[words[-1]](centre(picture, i))) == index
    if clause.endswith(("corner", "picture")):
        columns = [column for column, word in enumerate(("left", None, "right")) if word in words]
        rows = [row for row, word in enumerate(("top", None, "bottom")) if word in words]
        return cell(picture, index) == (*(columns or [1]), *(rows or [1]))
    if words[1] in ("biggest", "smallest", "bigger", "smaller"):
        same = fitting_things(picture, singular(words[3:]))
        assert same == fitting
        assert ("two" in words) == (len(same) == 2)
        most = max if words[1] in ("biggest", "bigger") else min
        return most(same, key=lambda i: picture.things[i].mask.sum()) == index
    (anchor,) = fitting_things(picture, words[-2:])
    if words[0] == "next":
        distances = {i: np.hypot(*np.subtract(_pixels(picture, i), _pixels(picture, anchor))) for i in fitting}
        return min(distances, key=distances.get) == index
    if words[0] == "partly":
        return picture.things[index].hidden_by.get(anchor, 0) >= 0.1 * picture.things[index].full_area
    if words[:2] == ["in", "front"]:
        return picture.things[anchor].hidden_by.get(index, 0) >= 0.1 * picture.things[anchor].full_area
    return is_related(picture, index, words[2] if words[0] == "to" else words[0], anchor)


def _pixels(picture, index):
    x, y = centre(picture, index)
    return x * picture.scene.width, y * picture.scene.height


def test_groups_are_all_that_their_sentences_fit(materials):
    kinds = {}
    for material in materials:
        for group in make_groups(material.picture, material.refs):
            assert all(material.picture.things[i].clear for i in group.targets)
            for sentence in group.sentences:
                if sentence.type in _GROUP_READERS:
                    found = _GROUP_READERS[sentence.type](material.picture, sentence.text)
                    assert sorted(found) == sorted(group.targets), sentence.text
                else:
                    assert (group.targets, sentence) in [((r.thing,), s) for r in material.refs for s in r.sentences]
                kinds[sentence.type] = kinds.get(sentence.type, 0) + 1
    assert all(kinds[kind] > 50 for kind in _GROUP_READERS)


def _plural(picture, text):
    found = fitting_things(picture, singular(text.split()))
    assert len(found) > 1
    return found


def _number(picture, text):
    found = _plural(picture, text)
    assert NUMBERS[len(found)] in text.split()
    return found


def _pair(picture, text):
    found = [fitting_things(picture, words.split()) for words in text.split(" and ")]
    assert [len(f) for f in found] == [1, 1]
    return [i for f in found for i in f]


def _rest(picture, text):
    (left_out,) = fitting_things(picture, re.split(r" (?:but|not) the ", text)[1].split())
    return [i for i in range(len(picture.things)) if i != left_out]


def _none(picture, text):
    """What a no-target sentence fits; nothing, if it is right."""
    relation = re.fullmatch(r"(.+?) (?:to the (left|right) of|(above|below)) the (.+)", text)
    if relation:
        noun, side, height, other = relation.groups()
        (index,), (anchor,) = (fitting_things(picture, words.split()) for words in (noun, other))
        return [index] if is_related(picture, index, side or height, anchor) else []
    fitting = fitting_things(picture, singular(text.split()))
    side = re.search(r"(left|right|top|bottom)", text)
    if not side:
        return fitting
    assert len(fitting) == 1
    x, y = centre(picture, fitting[0])
    depth = {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}[side[1]]
    return [i for i in fitting if depth < 0.6]


_GROUP_READERS = {"plural": _plural, "number": _number, "pair": _pair, "rest": _rest, "none": _none}


def test_composition_asks_for_pairs_that_are_held_out(materials):
    held_out = {f"{colour} {cls}" for cls, colour in HELD_OUT_PAIRS}
    for material in materials:
        if material.split != "composition":
            continue
        things = [f"{seen.thing.colour} {seen.thing.cls}" for seen in material.picture.things]
        refs = [*make_appearance_refs(material.picture), *make_descriptions(material.picture)]
        assert all(things[ref.thing] in held_out for ref in refs)
        for group in make_groups(material.picture, material.refs):
            assert {things[i] for i in group.targets} <= held_out


def test_grefcoco_records_have_lists_and_say_when_nothing_fits(world):
    refs = read_refs(world / "refer_seg/grefcoco/grefs(unc).json")
    for ref in refs:
        assert isinstance(ref["category_id"], list)
        assert ref["no_target"] == (ref["ann_id"] == [-1]) == (ref["category_id"] == [-1])
        assert ref["no_target"] == all(sentence["type"] == "none" for sentence in ref["sentences"])
    for split in ("train", "val", "testA", "testB"):
        mine = [ref for ref in refs if ref["split"] == split]
        assert any(ref["no_target"] for ref in mine)
        assert any(len(ref["ann_id"]) > 1 for ref in mine)


def test_refcocog_files_differ_in_their_splits_only(world):
    umd, google = (read_refs(world / f"refer_seg/refcocog/refs({by}).p") for by in ("umd", "google"))
    assert [{**ref, "split": ""} for ref in umd] == [{**ref, "split": ""} for ref in google]
    assert {ref["split"] for ref in umd} == {"train", "val", "test", "composition"}
    assert {ref["split"] for ref in google} == {"train", "val", "composition"}


def test_reason_seg_asks_both_ways_in_every_split(materials):
    for splits in (("train",), ("val",), ("testA", "testB")):
        questions = [m.question for m in materials if m.split in splits and m.question]
        assert {question.is_sentence for question in questions} == {False, True}
