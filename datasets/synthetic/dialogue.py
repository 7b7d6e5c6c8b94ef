"""Conversations about a picture in words alone: counts, colours, places, yes or no, short descriptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from datasets.synthetic.catalog import CLASS_BY_NAME, CLASS_NAMES, COLOUR_NAMES, NUMBERS, with_article
from datasets.synthetic.draw import Picture
from datasets.synthetic.facts import grid_place, nouns_of
from datasets.synthetic.scene import scene_rng


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One question and its answer."""

    question: str
    answer: str


def make_dialogue(picture: Picture) -> tuple[Exchange, ...]:
    """Two to five exchanges, no question twice."""
    rng = scene_rng(picture.scene.seed, picture.scene.index, "dialogue")
    wanted = int(rng.integers(2, 6))
    exchanges: dict[str, Exchange] = {}
    while len(exchanges) < wanted:
        exchange = _MAKERS[rng.integers(len(_MAKERS))](picture, rng)
        exchanges.setdefault(exchange.question, exchange)
    return tuple(exchanges.values())


def _any_thing(picture: Picture, rng: np.random.Generator) -> int:
    clear = [i for i, seen in enumerate(picture.things) if seen.clear]
    return clear[rng.integers(len(clear))] if clear else 0


def _ask(rng: np.random.Generator, *phrasings: str) -> str:
    return phrasings[rng.integers(len(phrasings))]


def _count(picture: Picture, rng: np.random.Generator) -> Exchange:
    """How many there are of a class or a colour; sometimes of a class that is not there."""
    if rng.random() < 0.2:
        name = cls = str(rng.choice(CLASS_NAMES))
        count = sum(seen.thing.cls == cls for seen in picture.things)
    else:
        noun = nouns_of(picture, _any_thing(picture, rng))[rng.integers(4)]
        name, cls, count = noun.text, noun.text.split()[-1], len(noun.members)
    plural = name[: -len(cls)] + (CLASS_BY_NAME[cls].plural if cls in CLASS_BY_NAME else "things")
    question = _ask(rng, f"How many {plural} are there?", f"How many {plural} can you see?")
    verb, what = ("is", name) if count == 1 else ("are", plural)
    return Exchange(question=question, answer=f"There {verb} {NUMBERS[count]} {what}.")


def _colour(picture: Picture, rng: np.random.Generator) -> Exchange:
    """The colour of the only thing of a class, or the colours of all."""
    thing = picture.things[_any_thing(picture, rng)].thing
    same = [seen.thing.colour for seen in picture.things if seen.thing.cls == thing.cls]
    if len(same) == 1:
        question = _ask(rng, f"What colour is the {thing.cls}?", f"Which colour does the {thing.cls} have?")
        return Exchange(question=question, answer=f"The {thing.cls} is {thing.colour}.")
    plural = CLASS_BY_NAME[thing.cls].plural
    colours = [c for c in COLOUR_NAMES if c in same]
    question = _ask(rng, f"What colour are the {plural}?", f"Which colours do the {plural} have?")
    return Exchange(question=question, answer=f"The {plural} are {_listed(colours)}.")


def _place(picture: Picture, rng: np.random.Generator) -> Exchange:
    """Where one thing is, if its name fits it alone; else where all of them are."""
    index = _any_thing(picture, rng)
    by_class, by_both = nouns_of(picture, index)[:2]
    noun = by_class if len(by_class.members) == 1 else by_both
    spots = [grid_place(picture, picture.things[i].x, picture.things[i].y) for i in noun.members]
    cells = _listed([f"the {spot}" for spot in dict.fromkeys(spots)])
    if len(noun.members) == 1:
        question = _ask(rng, f"Where is the {noun.text}?", f"Where can you see the {noun.text}?")
        return Exchange(question=question, answer=f"The {noun.text} is at {cells}.")
    plural = f"{picture.things[index].thing.colour} {CLASS_BY_NAME[picture.things[index].thing.cls].plural}"
    return Exchange(question=f"Where are the {plural}?", answer=f"The {plural} are at {cells}.")


def _yes_or_no(picture: Picture, rng: np.random.Generator) -> Exchange:
    """Whether there is a thing of a class and colour; about half of the time there is not."""
    thing = picture.things[_any_thing(picture, rng)].thing
    cls, colour = thing.cls, thing.colour
    if rng.random() < 0.5:
        cls, colour = (
            (str(rng.choice(CLASS_NAMES)), colour) if rng.random() < 0.5 else (cls, str(rng.choice(COLOUR_NAMES)))
        )
    present = any((seen.thing.cls, seen.thing.colour) == (cls, colour) for seen in picture.things)
    name = with_article(f"{colour} {cls}")
    question = _ask(rng, f"Is there {name} in the picture?", f"Can you see {name}?")
    return Exchange(
        question=question, answer=f"Yes, there is {name}." if present else f"No, there is no {colour} {cls}."
    )


def _describe(picture: Picture, rng: np.random.Generator) -> Exchange:
    """All things by colour and class, and what they stand on."""
    names: dict[str, int] = {}
    for seen in picture.things:
        names[f"{seen.thing.colour} {seen.thing.cls}"] = names.get(f"{seen.thing.colour} {seen.thing.cls}", 0) + 1
    words = []
    for name, count in names.items():
        colour, cls = name.split()
        words.append(with_article(name) if count == 1 else f"{NUMBERS[count]} {colour} {CLASS_BY_NAME[cls].plural}")
    ground = _listed(list(dict.fromkeys(picture.scene.ground)))
    question = _ask(rng, "Describe the picture.", "What can you see in this picture?", "What is in the picture?")
    return Exchange(question=question, answer=f"The picture shows {_listed(words)}, with {ground} behind.")


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


_MAKERS: tuple[Callable[[Picture, np.random.Generator], Exchange], ...] = (
    _count,
    _colour,
    _place,
    _yes_or_no,
    _describe,
)
