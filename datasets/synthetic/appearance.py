"""Referring expressions by looks alone, as refCOCO+ has them: never by place, nor by a relation in space."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from datasets.synthetic.catalog import CLASS_BY_NAME
from datasets.synthetic.draw import Picture
from datasets.synthetic.facts import nouns_of, sizes, unique_nouns
from datasets.synthetic.phrases import REFERRING
from datasets.synthetic.referring import (
    MIN_PART_PIXELS,
    Candidate,
    Ref,
    Sentence,
    property_candidates,
    say,
    shared_nouns,
    wanted,
)
from datasets.synthetic.scene import scene_rng

PART_SHARE = 0.2
# "the only red thing" must not crowd out the others.
COLOUR_ALONE_WEIGHT = 0.4


def make_appearance_refs(picture: Picture) -> list[Ref]:
    """Refs of all clear things that looks alone tell from the others, and of some of their parts; may be empty."""
    rng = scene_rng(picture.scene.seed, picture.scene.index, "appearance")
    refs = []
    for i, seen in enumerate(picture.things):
        if not seen.clear or not wanted(picture, i):
            continue
        refs.append(_thing_ref(picture, i, rng))
        parts = [p for p in CLASS_BY_NAME[seen.thing.cls].parts if seen.parts[p].sum() >= MIN_PART_PIXELS]
        if parts and rng.random() < PART_SHARE:
            refs.append(_part_ref(picture, i, parts[rng.integers(len(parts))], rng))
    return [ref for ref in refs if ref.sentences]


def _thing_ref(picture: Picture, index: int, rng: np.random.Generator) -> Ref:
    looks = [*_name_candidates(picture, index), *_size_candidates(picture, index)]
    split = picture.scene.split
    first = [_plain_name(looks)] if split == "train" and looks else []
    candidates = [*looks, *property_candidates(picture, index)]
    return Ref(thing=index, part=None, sentences=say(candidates, first, split, rng))


def _name_candidates(picture: Picture, index: int) -> Iterator[Candidate]:
    """Class, colour and class, or colour, wherever it fits this thing only."""
    thing = picture.things[index].thing
    by_class, by_both, by_colour, _ = (noun.members == (index,) for noun in nouns_of(picture, index))
    if by_both:
        yield Candidate(type="attribute", table="attribute", slots={"colour": thing.colour, "cls": thing.cls})
    if by_class:
        yield Candidate(type="class", table="class", slots={"noun": thing.cls})
    if by_colour:
        slots = {"noun": f"{thing.colour} thing"}
        yield Candidate(type="attribute", table="class", slots=slots, weight=COLOUR_ALONE_WEIGHT)


def _size_candidates(picture: Picture, index: int) -> Iterator[Candidate]:
    for noun, weight in shared_nouns(picture, index):
        for size in sizes(picture, index, noun.members):
            yield Candidate(type="size", table=f"size.{size}", slots={"noun": noun.text}, weight=weight)


def _plain_name(candidates: list[Candidate]) -> Sentence:
    """What training calls a thing: "red car", or "biggest car" where there are two red ones."""
    best = candidates[0]
    return Sentence(text=REFERRING[best.table].train[0].format(**best.slots), type=best.type)


def _part_ref(picture: Picture, index: int, part: str, rng: np.random.Generator) -> Ref:
    """A part of a thing whose class, or colour and class, fits it alone; no sentences where neither does."""
    owners = [noun.text for noun in unique_nouns(picture, index)]
    candidates = [Candidate(type="part", table="part", slots={"part": part, "owner": owner}) for owner in owners]
    train = picture.scene.split == "train"
    first = [Sentence(text=f"{part} of the {owners[-1]}", type="part")] if train and owners else []
    return Ref(thing=index, part=part, sentences=say(candidates, first, picture.scene.split, rng))
