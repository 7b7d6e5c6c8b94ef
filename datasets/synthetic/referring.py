"""Referring expressions: sentences that are true of exactly one thing (or part) of a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datasets.synthetic.catalog import CLASS_BY_NAME, HELD_OUT_PAIRS, PROPERTIES
from datasets.synthetic.draw import Picture
from datasets.synthetic.facts import (
    Noun,
    canonical_name,
    having,
    nouns_of,
    places,
    relations,
    sizes,
    unique_nouns,
)
from datasets.synthetic.phrases import PROPERTY_CLAUSES, REFERRING
from datasets.synthetic.scene import scene_rng

SENTENCES_PER_REF = 3
PART_SHARE = 0.1
MIN_PART_PIXELS = 80
# How often each kind is chosen where all are possible.
KIND_WEIGHTS = {
    "class": 30,
    "attribute": 45,
    "place": 19,
    "size": 22,
    "relation": 26,
    "property": 9,
    "part": 5,
}
# How often a description is chosen; "thing" says least and is left for when it must be.
NOUN_WEIGHTS = (3.0, 3.0, 1.5, 0.8)


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One expression, and the kind of understanding that it asks for."""

    text: str
    type: str


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A thing, or a part of it, with its sentences; in train the first is its canonical name."""

    thing: int
    part: str | None
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A true and unique statement that waits for its words."""

    type: str
    table: str
    slots: dict[str, str]
    weight: float = 1.0


def make_refs(picture: Picture) -> list[Ref]:
    """All refs of a picture; things that are barely seen, or that no sentence can single out, have none."""
    rng = scene_rng(picture.scene.seed, picture.scene.index, "referring")
    refs = []
    names = [canonical_name(picture, i) for i in range(len(picture.things))]
    for i, seen in enumerate(picture.things):
        if not seen.clear or not wanted(picture, i) or names.count(names[i]) > 1:
            continue
        refs.append(_thing_ref(picture, i, rng))
        part = _choose_part(picture, i, rng)
        if part:
            refs.append(_part_ref(picture, i, part, rng))
    return [ref for ref in refs if ref.sentences]


def wanted(picture: Picture, index: int) -> bool:
    """In the composition split only things of held-out pairs are asked for."""
    thing = picture.things[index].thing
    return picture.scene.split != "composition" or (thing.cls, thing.colour) in HELD_OUT_PAIRS


def _thing_ref(picture: Picture, index: int, rng: np.random.Generator) -> Ref:
    candidates = [
        *_name_candidates(picture, index),
        *_place_and_size_candidates(picture, index),
        *_relation_candidates(picture, index),
        *property_candidates(picture, index),
    ]
    first = []
    if picture.scene.split == "train":
        first = [Sentence(text=canonical_name(picture, index), type=least_type(picture, index))]
    return Ref(thing=index, part=None, sentences=say(candidates, first, picture.scene.split, rng))


def least_type(picture: Picture, index: int) -> str:
    """The least that would identify a thing."""
    by_class, by_both = nouns_of(picture, index)[:2]
    return "class" if len(by_class.members) == 1 else "attribute" if len(by_both.members) == 1 else "place"


def _name_candidates(picture: Picture, index: int) -> Iterator[Candidate]:
    thing = picture.things[index].thing
    by_class, by_both = nouns_of(picture, index)[:2]
    if len(by_class.members) == 1:
        yield Candidate(type="class", table="class", slots={"noun": thing.cls})
    elif len(by_both.members) == 1:
        yield Candidate(type="attribute", table="attribute", slots={"colour": thing.colour, "cls": thing.cls})


def shared_nouns(picture: Picture, index: int) -> list[tuple[Noun, float]]:
    """Descriptions that fit others too, so that place, size or relation is needed, with their weights."""
    return [(n, w) for n, w in zip(nouns_of(picture, index), NOUN_WEIGHTS, strict=True) if len(n.members) > 1]


def _place_and_size_candidates(picture: Picture, index: int) -> Iterator[Candidate]:
    for noun, weight in shared_nouns(picture, index):
        slots = {"noun": noun.text}
        for place in places(picture, index, noun.members):
            yield Candidate(type="place", table=f"place.{place}", slots=slots, weight=weight)
        for size in sizes(picture, index, noun.members):
            yield Candidate(type="size", table=f"size.{size}", slots=slots, weight=weight)


def _relation_candidates(picture: Picture, index: int) -> Iterator[Candidate]:
    for anchor, seen in enumerate(picture.things):
        anchor_nouns = unique_nouns(picture, anchor)
        if anchor == index or not seen.clear or not anchor_nouns:
            continue
        for noun, weight in shared_nouns(picture, index):
            # "the thing left of the house" could also be said of the house's own kind, so it stays out.
            rivals = [i for i in noun.members if i != anchor]
            if len(rivals) < 2:
                continue
            for relation in relations(picture, index, rivals, anchor):
                slots = {"noun": noun.text, "anchor": anchor_nouns[0].text}
                yield Candidate(type="relation", table=f"relation.{relation}", slots=slots, weight=weight)


def property_candidates(picture: Picture, index: int) -> Iterator[Candidate]:
    for name in PROPERTIES:
        yes, maybe = having(picture, name)
        if yes == [index] and not maybe:
            for clause in PROPERTY_CLAUSES[name]:
                yield Candidate(type="property", table="property", slots={"that": clause})


def _choose_part(picture: Picture, index: int, rng: np.random.Generator) -> str | None:
    """Now and then a part that is large enough to be asked for."""
    seen = picture.things[index]
    wanted = [p for p in CLASS_BY_NAME[seen.thing.cls].parts if seen.parts[p].sum() >= MIN_PART_PIXELS]
    if not wanted or rng.random() >= PART_SHARE:
        return None
    return wanted[rng.integers(len(wanted))]


def _part_ref(picture: Picture, index: int, part: str, rng: np.random.Generator) -> Ref:
    owners = [noun.text for noun in unique_nouns(picture, index)]
    by_place = [
        REFERRING[f"place.{place}"].train[0].format(noun=noun.text)
        for noun, _ in shared_nouns(picture, index)
        if not noun.text.endswith("thing")
        for place in places(picture, index, noun.members)
    ]
    canonical = canonical_name(picture, index)
    candidates = [
        Candidate(type="part", table="part", slots={"part": part, "owner": owner})
        for owner in (*owners, *by_place, canonical)
    ]
    train = picture.scene.split == "train"
    first = [Sentence(text=f"{part} of the {canonical}", type="part")] if train else []
    return Ref(thing=index, part=part, sentences=say(candidates, first, picture.scene.split, rng))


def say(
    candidates: list[Candidate], first: list[Sentence], split: str, rng: np.random.Generator
) -> tuple[Sentence, ...]:
    """Put candidates into words, kinds by their weights, until there are enough different sentences."""
    sentences = list(first)
    left = list(candidates)
    while left and len(sentences) < SENTENCES_PER_REF:
        kinds = sorted({c.type for c in left})
        weights = np.array([KIND_WEIGHTS[kind] for kind in kinds], float)
        kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
        of_kind = [c for c in left if c.type == kind]
        weights = np.array([c.weight for c in of_kind])
        chosen = of_kind[rng.choice(len(of_kind), p=weights / weights.sum())]
        left.remove(chosen)
        text = REFERRING[chosen.table].pick(rng, split).format(**chosen.slots)
        if text not in {s.text for s in sentences}:
            sentences.append(Sentence(text=text, type=chosen.type))
    return tuple(sentences)
