"""All tables of wordings by name, and patterns that know a wording again."""

from __future__ import annotations

import re
from collections.abc import Iterable

from datasets.synthetic.catalog import CLASS_BY_NAME, CLASSES, COLOURS, NUMBERS
from datasets.synthetic.phrases import PROPERTY_SENTENCES, REFERRING, SENTENCES, SHORT, Wording
from datasets.synthetic.phrases_more import DESCRIPTIONS, GROUPS


def tables() -> dict[str, Wording]:
    """Every table of sentences by one name each, for the record in world.json and for tests."""
    named = {
        "referring": REFERRING,
        "short": SHORT,
        "sentence": SENTENCES,
        "property sentence": PROPERTY_SENTENCES,
        "description": DESCRIPTIONS,
        "group": GROUPS,
    }
    return {f"{table} {kind}": wording for table, kinds in named.items() for kind, wording in kinds.items()}


def _any_of(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(sorted(set(words)))})"


_CLASS, _COLOUR = _any_of([*CLASS_BY_NAME, "thing"]), _any_of(COLOURS)
_CLASSES = _any_of([*(cls.plural for cls in CLASSES), "things"])
# What may fill a slot; those that are not named here take anything.
_FILLINGS = {
    "cls": _CLASS,
    "colour": _COLOUR,
    "noun": f"(?:{_COLOUR} )?{_CLASS}",
    "nouns": f"(?:{_COLOUR} )?{_CLASSES}",
    "anchor": f"(?:{_COLOUR} )?{_CLASS}",
    "a_noun": f"an? (?:{_COLOUR} )?{_CLASS}",
    "number": _any_of(NUMBERS),
    "part": _any_of(part for cls in CLASSES for part in cls.parts),
    "that": "that .+",
}


def as_pattern(phrasing: str) -> re.Pattern[str]:
    """A pattern that matches, whole, the sentences of a phrasing and those of no other."""
    pieces = re.split(r"\{(\w+)\}", phrasing)
    return re.compile(
        "".join(_FILLINGS.get(piece, ".+") if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))
    )
