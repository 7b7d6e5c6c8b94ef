"""Sentences are true of one thing only: judged by a second, simpler reader that knows words and masks."""

import re

import numpy as np
import pytest
from synthetic_reader import centre, fitting_things

from datasets.synthetic.catalog import CLASS_NAMES, COLOUR_NAMES, HELD_OUT_PAIRS, PROPERTIES
from datasets.synthetic.facts import canonical_name
from datasets.synthetic.phrases import PROPERTY_CLAUSES, REFERRING
from datasets.synthetic.wordings import as_pattern, tables

HORIZONTAL = {"left": 0, "leftmost": 0, "right": 2, "rightmost": 2}
VERTICAL = {"top": 0, "highest": 0, "bottom": 2, "lowest": 2}
LARGE, SMALL = {"biggest", "largest", "bigger", "larger"}, {"smallest", "tiniest", "smaller", "tinier"}


def _sentences(materials, kind, canonical=False):
    for material in materials:
        for ref in material.refs:
            rest = ref.sentences[1:] if material.split == "train" and not canonical else ref.sentences
            for sentence in rest:
                if sentence.type == kind and not ref.part:
                    yield material.picture, ref.thing, sentence.text


def test_class_and_attribute_sentences_fit_one_thing(materials):
    checked = 0
    for kind in ("class", "attribute"):
        for picture, target, text in _sentences(materials, kind):
            assert fitting_things(picture, text.split()) == [target]
            checked += 1
    assert checked > 100


def test_place_sentences_choose_one_of_several(materials):
    checked = 0
    for picture, target, text in _sentences(materials, "place"):
        words = text.split()
        fitting = fitting_things(picture, words)
        assert len(fitting) > 1, text
        x, y = centre(picture, target)
        others = [centre(picture, i) for i in fitting if i != target]
        columns = {HORIZONTAL[w] for w in words if w in HORIZONTAL}
        rows = {VERTICAL[w] for w in words if w in VERTICAL}
        if columns and rows:
            assert (int(3 * x), int(3 * y)) == (*columns, *rows), text
            assert all((int(3 * ox), int(3 * oy)) != (*columns, *rows) for ox, oy in others), text
        elif columns:
            assert all((ox - x if columns == {0} else x - ox) >= 0.1 for ox, _ in others), text
        elif rows:
            assert all((oy - y if rows == {0} else y - oy) >= 0.1 for _, oy in others), text
        else:
            assert {"middle", "centre"} & set(words)
            assert all(max(abs(ox - 0.5), abs(oy - 0.5)) > max(abs(x - 0.5), abs(y - 0.5)) + 0.1 for ox, oy in others)
        checked += 1
    assert checked > 300


def test_size_sentences_choose_one_of_several(materials):
    checked = 0
    for picture, target, text in _sentences(materials, "size"):
        words = set(text.split())
        fitting = fitting_things(picture, words)
        assert len(fitting) > 1
        assert len(words & (LARGE | SMALL)) == 1
        for other in fitting:
            if other == target:
                continue
            large, small = (target, other) if words & LARGE else (other, target)
            assert picture.things[large].mask.sum() > 1.3 * picture.things[small].mask.sum(), text
        checked += 1
    assert checked > 60


def test_relations_of_place_hold_for_one_of_several(materials):
    words_of = {
        "left of": (0, -1),
        "right of": (0, 1),
        "above": (1, -1),
        "higher than": (1, -1),
        "over": (1, -1),
    }
    words_of |= {"below": (1, 1), "lower than": (1, 1), "under": (1, 1)}
    checked = 0
    for picture, target, text in _sentences(materials, "relation"):
        found = [words for words in words_of if f" {words} the " in text]
        if not found:
            continue
        before, after = text.split(f" {found[0]} the ")
        axis, sign = words_of[found[0]]
        noun = [w for w in before.split() if w in (*CLASS_NAMES, *COLOUR_NAMES, "thing")]
        (anchor,) = fitting_things(picture, after.split())
        fitting = [i for i in fitting_things(picture, noun) if i != anchor]
        true_of = [i for i in fitting if sign * (centre(picture, i)[axis] - centre(picture, anchor)[axis]) > 0]
        assert len(fitting) > 1
        assert true_of == [target], text
        checked += 1
    assert checked > 150


def test_property_sentences_fit_one_thing(materials):
    checked = 0
    for picture, target, text in _sentences(materials, "property"):
        (name,) = [n for n, clauses in PROPERTY_CLAUSES.items() if any(text.endswith(c) for c in clauses)]
        classes = PROPERTIES[name].yes | PROPERTIES[name].maybe
        assert [i for i, seen in enumerate(picture.things) if seen.thing.cls in classes] == [target]
        checked += 1
    assert checked > 10


def test_training_refs_start_with_a_canonical_name_that_fits_nothing_else(materials):
    for material in materials:
        names = [canonical_name(material.picture, i) for i in range(len(material.picture.things))]
        for ref in material.refs:
            assert names.count(names[ref.thing]) == 1
            if material.split == "train":
                first = names[ref.thing] if not ref.part else f"{ref.part} of the {names[ref.thing]}"
                assert ref.sentences[0].text == first


def test_composition_asks_for_held_out_pairs_only(materials):
    for material in materials:
        things = [seen.thing for seen in material.picture.things]
        if material.split == "composition":
            assert material.refs
            assert all((things[r.thing].cls, things[r.thing].colour) in HELD_OUT_PAIRS for r in material.refs)
        else:
            assert not {(t.cls, t.colour) for t in things} & set(HELD_OUT_PAIRS)


def test_kept_phrasings_never_occur_in_train(materials):
    kept = [as_pattern(p) for wording in tables().values() for p in wording.kept]
    others = 0
    for material in materials:
        texts = [s.text for ref in material.refs for s in ref.sentences]
        texts += material.question.texts if material.question else ()
        hits = [text for text in texts if any(pattern.fullmatch(text) for pattern in kept)]
        assert material.split != "train" or not hits, hits
        others += len(hits)
    assert others > 0


def test_kept_phrasings_use_words_of_training_only():
    def words(phrasings):
        return set(re.findall(r"[a-z]+", " ".join(phrasings).lower()))

    trained = words(p for wording in tables().values() for p in wording.train)
    assert words(p for wording in tables().values() for p in wording.kept) <= trained


def test_every_kind_of_referring_has_four_phrasings_and_one_more_that_is_kept():
    for kind, wording in REFERRING.items():
        assert len(set(wording.train)) >= 4, kind
        assert wording.kept, kind
        assert not set(wording.train) & set(wording.kept), kind


@pytest.mark.parametrize("split", ["val", "testA", "testB"])
def test_half_of_the_sentences_need_place_size_or_relation(materials, split):
    mine = [m for m in materials if m.split == split]
    types = [s.type for m in mine for ref in m.refs for s in ref.sentences]
    assert np.mean([kind in ("place", "size", "relation") for kind in types]) >= 0.5


def test_most_targets_have_a_rival_of_their_class_or_colour(materials):
    has_rival = []
    for material in materials:
        things = [seen.thing for seen in material.picture.things]
        for ref in material.refs:
            this = things[ref.thing]
            rest = [t for i, t in enumerate(things) if i != ref.thing]
            has_rival.append(any(t.cls == this.cls or t.colour == this.colour for t in rest))
    assert np.mean(has_rival) >= 0.6


def test_counts_in_the_world_file_are_those_of_the_refs(record, materials):
    val = [m for m in materials[:40] if m.split == "val"]
    counts = record["counts"]["refcoco"]["val"]
    assert counts["refs"] == sum(len(m.refs) for m in val)
    assert counts["sentences"] == sum(counts["types"].values())


def test_reasoning_targets_follow_from_the_property_table(materials):
    kinds = set()
    for material in materials:
        question, things = material.question, material.picture.things
        if question is None:
            continue
        kinds.add(question.type)
        assert question.targets
        assert not set(question.targets) & set(question.ignored)
        assert 2 * len(question.targets) <= len(things)
        if question.type == "property":
            fits = [
                p
                for p in PROPERTIES.values()
                if {i for i, s in enumerate(things) if s.thing.cls in p.yes | p.maybe}
                == {*question.targets, *question.ignored}
            ]
            assert fits
        if question.type == "odd_one_out":
            rest = [s.thing for i, s in enumerate(things) if i not in question.targets]
            odd = things[question.targets[0]].thing
            same_class, same_colour = len({t.cls for t in rest}) == 1, len({t.colour for t in rest}) == 1
            assert (same_class and odd.cls != rest[0].cls) or (same_colour and odd.colour != rest[0].colour)
    assert kinds == {"property", "plural", "odd_one_out", "hidden", "extreme"}


def test_dialogues_count_right(materials):
    numbers = ["no", "one", "two", "three", "four", "five", "six", "seven"]
    checked = 0
    for material in materials:
        for exchange in material.dialogue:
            match = re.fullmatch(r"There (?:is|are) (\w+) (.+)\.", exchange.answer)
            if not match:
                continue
            words = match[2].replace("buses", "bus").split()
            words = [w if w in (*CLASS_NAMES, *COLOUR_NAMES) else w.removesuffix("s") for w in words]
            assert numbers.index(match[1]) == len(fitting_things(material.picture, words))
            checked += 1
    assert checked > 50
