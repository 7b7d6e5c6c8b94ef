"""Questions that need a thought: properties, all of a kind, the odd one, the hidden one, extremes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from datasets.synthetic.catalog import CLASS_BY_NAME, NUMBERS, PROPERTIES, with_article
from datasets.synthetic.draw import Picture
from datasets.synthetic.facts import having, hides, is_larger, touches, unique_nouns
from datasets.synthetic.phrases import (
    EXPLANATIONS,
    PROPERTY_CLAUSES,
    PROPERTY_SENTENCES,
    SENTENCES,
    SHORT,
)
from datasets.synthetic.scene import scene_rng

# The odd one and the hidden one can be asked for in few pictures only, so there they come first.
KIND_WEIGHTS = {"property": 40, "plural": 16, "odd_one_out": 60, "hidden": 60, "extreme": 16}
SENTENCE_SHARE = 0.65
EXPLAINED_SHARE = 0.3
OWN_SENTENCE_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about a picture, and the things that it asks for."""

    type: str
    texts: tuple[str, ...]
    """The same question in one or more wordings."""
    is_sentence: bool
    targets: tuple[int, ...]
    ignored: tuple[int, ...]
    """Things that could be argued either way, or that can hardly be seen."""
    explanation: str | None


@dataclass(frozen=True, kw_only=True)
class _Idea:
    """A question that waits for its words."""

    type: str
    targets: tuple[int, ...]
    because: str
    slots: dict[str, str]
    property: str | None = None
    ignored: tuple[int, ...] = ()


def make_question(picture: Picture) -> Question | None:
    """One question about the picture, or None where none has a clear answer that leaves something out."""
    rng = scene_rng(picture.scene.seed, picture.scene.index, "reasoning")
    by_kind = {kind: [i for i in find(picture) if _is_askable(picture, i)] for kind, find in _IDEAS.items()}
    kinds = [kind for kind, ideas in by_kind.items() if ideas]
    if not kinds:
        return None
    weights = np.array([KIND_WEIGHTS[kind] for kind in kinds], float)
    ideas = by_kind[kinds[rng.choice(len(kinds), p=weights / weights.sum())]]
    return _put(ideas[rng.integers(len(ideas))], picture, rng)


def _is_askable(picture: Picture, idea: _Idea) -> bool:
    """All targets are well seen, and at least as many other things are not asked for."""
    seen = all(picture.things[i].clear for i in idea.targets)
    others = len(picture.things) - len(idea.targets) - len(idea.ignored)
    return seen and len(idea.targets) <= others


def _split_clear(picture: Picture, indices: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(well seen, barely seen): what is barely seen is no target, but wrong it is not either."""
    clear = tuple(i for i in indices if picture.things[i].clear)
    return clear, tuple(i for i in indices if i not in clear)


def _property_ideas(picture: Picture) -> list[_Idea]:
    ideas = []
    for name in PROPERTIES:
        yes, maybe = having(picture, name)
        targets, faint = _split_clear(picture, yes)
        if targets:
            because = f"{_subject(picture, targets)} {EXPLANATIONS[name][len(targets) > 1]}."
            ideas.append(
                _Idea(
                    type="property",
                    targets=targets,
                    because=because,
                    slots={},
                    property=name,
                    ignored=(*faint, *maybe),
                )
            )
    return ideas


def _plural_ideas(picture: Picture) -> list[_Idea]:
    ideas: dict[str, _Idea] = {}
    things = [seen.thing for seen in picture.things]
    for thing in things:
        plural = CLASS_BY_NAME[thing.cls].plural
        groups = {
            (thing.cls, plural): [i for i, t in enumerate(things) if t.cls == thing.cls],
            (f"{thing.colour} thing", f"{thing.colour} things"): [
                i for i, t in enumerate(things) if t.colour == thing.colour
            ],
            (f"{thing.colour} {thing.cls}", f"{thing.colour} {plural}"): [
                i for i, t in enumerate(things) if (t.cls, t.colour) == (thing.cls, thing.colour)
            ],
        }
        for (noun, nouns), indices in groups.items():
            targets, faint = _split_clear(picture, indices)
            if len(targets) > 1:
                because = f"There are {NUMBERS[len(targets)]} {nouns} in the picture."
                slots = {"noun": noun, "nouns": nouns}
                ideas[noun] = _Idea(type="plural", targets=targets, because=because, slots=slots, ignored=faint)
    return list(ideas.values())


def _odd_one_ideas(picture: Picture) -> list[_Idea]:
    """The one thing that differs in class, or in colour, while the others agree; never two different ones."""
    found: dict[int, str] = {}
    for attribute in ("cls", "colour"):
        values = [getattr(seen.thing, attribute) for seen in picture.things]
        odd = [i for i, value in enumerate(values) if values.count(value) == 1]
        if len(values) >= 3 and len(odd) == 1 and len(set(values)) == 2:
            common = next(value for i, value in enumerate(values) if i != odd[0])
            others = CLASS_BY_NAME[common].plural if attribute == "cls" else common
            found[odd[0]] = f"All the others are {others}, but this one is {_a(values[odd[0]], attribute)}."
    if len(found) != 1:
        return []
    ((index, because),) = found.items()
    return [_Idea(type="odd_one_out", targets=(index,), because=because, slots={})]


def _a(value: str, attribute: str) -> str:
    return with_article(value) if attribute == "cls" else value


def _hidden_ideas(picture: Picture) -> list[_Idea]:
    ideas = []
    everything = range(len(picture.things))
    for front in everything:
        names = unique_nouns(picture, front)
        behind = [i for i in everything if i != front and touches(picture, front, i)]
        if names and len(behind) == 1 and hides(picture, front, behind[0]):
            anchor = names[0].text
            thing = picture.things[behind[0]].thing
            because = f"The {anchor} hides a part of the {thing.colour} {thing.cls}."
            ideas.append(_Idea(type="hidden", targets=(behind[0],), because=because, slots={"anchor": anchor}))
    return ideas


def _extreme_ideas(picture: Picture) -> list[_Idea]:
    """The largest or the smallest of at least two things that share a property, class or colour."""
    ideas = []
    for that, (yes, maybe) in _groups(picture).items():
        rivals = [picture.things[i] for i in (*yes, *maybe)]
        if len(yes) < 2:
            continue
        for i in yes:
            others = [seen for seen in rivals if seen is not picture.things[i]]
            if all(is_larger(picture.things[i], other) for other in others):
                ideas.append(_extreme(picture, i, "largest", that))
            elif all(is_larger(other, picture.things[i]) for other in others):
                # Twice as often as the largest, which is too good a guess in any picture.
                ideas += [_extreme(picture, i, "smallest", that)] * 2
    return ideas


def _groups(picture: Picture) -> dict[str, tuple[list[int], list[int]]]:
    """Clause -> (things that it is true of, things of which it could be argued)."""
    groups = {clause: having(picture, name) for name, clauses in PROPERTY_CLAUSES.items() for clause in clauses}
    for colour in sorted({seen.thing.colour for seen in picture.things}):
        groups[f"that is {colour}"] = (
            [i for i, s in enumerate(picture.things) if s.thing.colour == colour],
            [],
        )
    return groups


def _extreme(picture: Picture, index: int, most: str, that: str) -> _Idea:
    thing = picture.things[index].thing
    because = f"The {thing.colour} {thing.cls} is the {most} thing {that}."
    return _Idea(type="extreme", targets=(index,), because=because, slots={"most": most, "that": that})


_IDEAS: dict[str, Callable[[Picture], list[_Idea]]] = {
    "property": _property_ideas,
    "plural": _plural_ideas,
    "odd_one_out": _odd_one_ideas,
    "hidden": _hidden_ideas,
    "extreme": _extreme_ideas,
}


def _subject(picture: Picture, targets: tuple[int, ...]) -> str:
    """ "The lamp", "The cars", "The car and the boats": the classes of the targets."""
    classes = [picture.things[i].thing.cls for i in targets]
    names = [c if classes.count(c) == 1 else CLASS_BY_NAME[c].plural for c in dict.fromkeys(classes)]
    listed = [f"the {name}" for name in names]
    text = " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)
    return text[0].upper() + text[1:]


def _put(idea: _Idea, picture: Picture, rng: np.random.Generator) -> Question:
    """Wordings of one idea, all long or all short; one to three in train, one elsewhere."""
    split = picture.scene.split
    is_sentence = bool(rng.random() < SENTENCE_SHARE)
    wanted = int(rng.integers(1, 4)) if split == "train" else 1
    texts = [_wording(idea, is_sentence, split, rng) for _ in range(wanted)]
    return Question(
        type=idea.type,
        texts=tuple(dict.fromkeys(texts)),
        is_sentence=is_sentence,
        targets=idea.targets,
        ignored=idea.ignored,
        explanation=idea.because if rng.random() < EXPLAINED_SHARE else None,
    )


def _wording(idea: _Idea, is_sentence: bool, split: str, rng: np.random.Generator) -> str:
    slots = dict(idea.slots)
    table = (SENTENCES if is_sentence else SHORT)[idea.type]
    if idea.property:
        clauses = PROPERTY_CLAUSES[idea.property]
        slots["that"] = clauses[rng.integers(len(clauses))]
        if is_sentence and rng.random() < OWN_SENTENCE_SHARE:
            table = PROPERTY_SENTENCES[idea.property]
    return table.pick(rng, split).format(**slots)
