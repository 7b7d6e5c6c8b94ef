"""Longer referring expressions of several facts, as refCOCOg has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.synthetic.catalog import CLASS_BY_NAME, with_article
from datasets.synthetic.draw import Picture
from datasets.synthetic.facts import Noun, grid_place, nouns_of, places, relations, sizes, unique_nouns
from datasets.synthetic.phrases_more import DESCRIPTIONS, PLACE_CLAUSES, RELATION_CLAUSES, SIZE_CLAUSES
from datasets.synthetic.referring import Ref, Sentence, least_type, wanted
from datasets.synthetic.scene import scene_rng

SENTENCES_PER_REF = 2


@dataclass(frozen=True, kw_only=True)
class _Fact:
    """What is true of a thing, in the words that follow "that is"."""

    type: str
    clause: str


def make_descriptions(picture: Picture) -> list[Ref]:
    """Refs of all clear things that colour, class and up to two more facts tell from the others."""
    rng = scene_rng(picture.scene.seed, picture.scene.index, "descriptions")
    refs = []
    for i, seen in enumerate(picture.things):
        if seen.clear and wanted(picture, i):
            refs.append(Ref(thing=i, part=None, sentences=_describe(picture, i, rng)))
    return [ref for ref in refs if ref.sentences]


def _describe(picture: Picture, index: int, rng: np.random.Generator) -> tuple[Sentence, ...]:
    """Up to two sentences; none where no fact tells a thing from its twins."""
    noun = nouns_of(picture, index)[1]
    telling = _telling_facts(picture, index, noun)
    also = [*_relation_facts(picture, index, (index,)), _cell(picture, index)]
    is_unique = len(noun.members) == 1
    sentences: dict[str, Sentence] = {}
    for _ in range(SENTENCES_PER_REF if is_unique or telling else 0):
        # A unique noun can do with anything that is true; twins need a fact that is true of one only.
        pool = also if is_unique else telling
        first = pool[rng.integers(len(pool))]
        rest = [fact for fact in (*telling, *also) if fact.type != first.type]
        second = rest[rng.integers(len(rest))] if rest else None
        plain = not sentences and picture.scene.split == "train"
        text = _put(noun, first, second, plain, picture.scene.split, rng)
        kind = least_type(picture, index) if is_unique else first.type
        sentences.setdefault(text, Sentence(text=text, type=kind))
    return tuple(sentences.values())


def _telling_facts(picture: Picture, index: int, noun: Noun) -> list[_Fact]:
    """Facts that are true of one of the things that the noun fits; none when it fits one only."""
    if len(noun.members) == 1:
        return []
    colour, cls = noun.text.split()
    nouns = f"{colour} {CLASS_BY_NAME[cls].plural}"
    facts = [_Fact(type="place", clause=PLACE_CLAUSES[p]) for p in places(picture, index, noun.members)]
    facts += [
        _Fact(type="size", clause=SIZE_CLAUSES[size].format(nouns=nouns))
        for size in sizes(picture, index, noun.members)
    ]
    return facts + _relation_facts(picture, index, noun.members)


def _relation_facts(picture: Picture, index: int, members: tuple[int, ...]) -> list[_Fact]:
    """How the thing, and no other of the members, stands to things that have a name of their own."""
    facts = []
    for anchor, seen in enumerate(picture.things):
        names = unique_nouns(picture, anchor)
        if anchor in (index, *members) or not seen.clear or not names:
            continue
        for relation in relations(picture, index, members, anchor):
            clause = RELATION_CLAUSES[relation].format(anchor=names[-1].text)
            facts.append(_Fact(type="relation", clause=clause))
    return facts


def _cell(picture: Picture, index: int) -> _Fact:
    """The cell of a 3x3 grid; several things may share it."""
    place = grid_place(picture, picture.things[index].x, picture.things[index].y)
    clause = PLACE_CLAUSES["middle"] if place == "middle" else f"at the {place} of the picture"
    return _Fact(type="place", clause=clause)


def _put(noun: Noun, first: _Fact, second: _Fact | None, plain: bool, split: str, rng: np.random.Generator) -> str:
    """One sentence; `plain` for the wording that says "the" and reads well as a name."""
    wording = DESCRIPTIONS["two" if second else "one"]
    phrasing = wording.train[0] if plain else wording.pick(rng, split)
    slots = {"noun": noun.text, "a_noun": with_article(noun.text), "clause": first.clause}
    return phrasing.format(**slots, other=second.clause if second else "")
