"""Expressions for several things, for one, and for none, as gRefCOCO has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datasets.synthetic.catalog import CLASS_BY_NAME, CLASSES, COLOURS, HELD_OUT_PAIRS, NUMBERS, with_article
from datasets.synthetic.draw import Picture
from datasets.synthetic.facts import PLACE_MARGIN, nouns_of, relations, unique_nouns
from datasets.synthetic.phrases_more import GROUPS, NOT_RELATED, NOT_THERE
from datasets.synthetic.referring import Ref, Sentence, wanted
from datasets.synthetic.scene import scene_rng

MAX_SINGLE, MAX_SEVERAL, MAX_NONE = 2, 3, 2
SENTENCES_PER_GROUP = 2
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Things and the sentences that mean all of them and nothing else; no things where nothing fits."""

    targets: tuple[int, ...]
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, kw_only=True)
class _Idea:
    """A group that waits for its words; its kind is a table of GROUPS."""

    kind: str
    targets: tuple[int, ...]
    slots: dict[str, str]


def make_groups(picture: Picture, refs: list[Ref]) -> list[Group]:
    """Groups of a picture: one thing each (from its refs, without their parts), several, and none."""
    rng = scene_rng(picture.scene.seed, picture.scene.index, "groups")
    singles = [Group(targets=(ref.thing,), sentences=ref.sentences[:2]) for ref in refs if not ref.part]
    several = [idea for idea in _several(picture) if _askable(picture, idea.targets)]
    none = [*_absent_names(picture), *_wrong_places(picture), *_wrong_relations(picture)]
    ideas = [*_some(several, MAX_SEVERAL, rng), *_some(none, MAX_NONE, rng)]
    groups = [*_choose(singles, MAX_SINGLE, rng), *(_put(idea, picture.scene.split, rng) for idea in ideas)]
    return groups


def _some(ideas: list[_Idea], wanted_count: int, rng: np.random.Generator) -> list[_Idea]:
    """Ideas of different kinds, at most as many as wanted."""
    kinds = _choose(list(dict.fromkeys(idea.kind for idea in ideas)), wanted_count, rng)
    return [_choose([idea for idea in ideas if idea.kind == kind], 1, rng)[0] for kind in kinds]


def _choose(items: list, count: int, rng: np.random.Generator) -> list:
    """At most `count` of the items, each once."""
    return [items[i] for i in rng.permutation(len(items))[:count]]


def _askable(picture: Picture, targets: tuple[int, ...]) -> bool:
    return all(picture.things[i].clear and wanted(picture, i) for i in targets)


def _several(picture: Picture) -> Iterator[_Idea]:
    everything = range(len(picture.things))
    nouns = {noun.text: noun for i in everything for noun in nouns_of(picture, i)[:3]}
    for text, noun in nouns.items():
        if len(noun.members) < 2:
            continue
        slots = {"nouns": plural_of(text), "number": NUMBERS[len(noun.members)]}
        # "the fish" could be one fish, but "the two fish" could not.
        kinds = ["number"] if plural_of(text) == text else ["number", "plural"]
        for kind in kinds:
            yield _Idea(kind=kind, targets=noun.members, slots=slots)
    names = {i: unique_nouns(picture, i)[0].text for i in everything if unique_nouns(picture, i)}
    for i, name in names.items():
        for j, other in names.items():
            if i != j:
                yield _Idea(kind="pair", targets=(i, j), slots={"noun": name, "anchor": other})
        rest = tuple(k for k in everything if k != i)
        if len(rest) > 1:
            yield _Idea(kind="rest", targets=rest, slots={"noun": name})


def plural_of(noun: str) -> str:
    """ "red bus" -> "red buses"."""
    *colour, cls = noun.split()
    return " ".join([*colour, CLASS_BY_NAME[cls].plural if cls in CLASS_BY_NAME else "things"])


def _absent_names(picture: Picture) -> Iterator[_Idea]:
    """Classes and colours that the picture has, but never together; in training no pair that is held out."""
    things = [seen.thing for seen in picture.things]
    there = {(thing.cls, thing.colour) for thing in things}
    held_out = picture.scene.split == "composition"
    classes = [cls.name for cls in CLASSES if held_out or any(thing.cls == cls.name for thing in things)]
    colours = [colour for colour in COLOURS if any(thing.colour == colour for thing in things)]
    for cls in classes:
        for colour in colours:
            pair = (cls, colour)
            if pair not in there and (pair in HELD_OUT_PAIRS) == held_out:
                noun = f"{colour} {cls}"
                yield _Idea(kind="none", targets=(), slots={"noun": noun, "a_noun": with_article(noun)})
                if plural_of(noun) != noun:
                    yield _Idea(kind="none.plural", targets=(), slots={"nouns": plural_of(noun)})


def _named(picture: Picture) -> dict[int, str]:
    """Things that may be asked for, and that colour and class tell from the others."""
    things = enumerate(picture.things)
    names = {i: unique_nouns(picture, i) for i, seen in things if seen.clear and wanted(picture, i)}
    return {i: nouns[-1].text for i, nouns in names.items() if nouns}


def _wrong_places(picture: Picture) -> Iterator[_Idea]:
    """A thing at the side where it clearly is not, and nothing else is called the same."""
    for i, noun in _named(picture).items():
        x, y = picture.things[i].x / picture.scene.width, picture.things[i].y / picture.scene.height
        for side, depth in {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}.items():
            if depth > 0.5 + PLACE_MARGIN:
                yield _Idea(kind="none.place", targets=(), slots={"noun": noun, "place": NOT_THERE[side]})


def _wrong_relations(picture: Picture) -> Iterator[_Idea]:
    """A thing left of what it is clearly right of, and so on."""
    for i, noun in _named(picture).items():
        for anchor, seen in enumerate(picture.things):
            anchor_names = unique_nouns(picture, anchor)
            if anchor == i or not seen.clear or not anchor_names:
                continue
            for relation in relations(picture, i, (i,), anchor):
                if relation in OPPOSITE:
                    words = NOT_RELATED[OPPOSITE[relation]]
                    slots = {"noun": noun, "relation": words, "anchor": anchor_names[-1].text}
                    yield _Idea(kind="none.relation", targets=(), slots=slots)


def _put(idea: _Idea, split: str, rng: np.random.Generator) -> Group:
    """In training the first sentence is the plainest."""
    wording = GROUPS[idea.kind]
    first = [wording.train[0]] if split == "train" else []
    phrasings = [*first, *(wording.pick(rng, split) for _ in range(SENTENCES_PER_GROUP - len(first)))]
    texts = dict.fromkeys(phrasing.format(**idea.slots) for phrasing in phrasings)
    kind = "none" if not idea.targets else idea.kind
    return Group(targets=idea.targets, sentences=tuple(Sentence(text=text, type=kind) for text in texts))
