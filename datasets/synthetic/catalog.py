"""What there is in the world: classes, colours, stuff, properties, and pairs that training never shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

ADE20K_NAMES_FILE = Path(__file__).parent.parent / "classes/ade20k.txt"


@dataclass(frozen=True, kw_only=True)
class ThingClass:
    """One class of thing."""

    name: str
    plural: str
    ade20k: str | None
    """The official ADE20K name that is right for it, or None (label 0, "other")."""
    parts: tuple[str, ...] = ()
    """Parts that may be asked for, by the names that `shapes.py` gives them."""
    home: str = "ground"
    """Where it is put: "ground", "sky", or "water" when the scene has some."""


@dataclass(frozen=True, kw_only=True)
class Property:
    """Something that is true of some classes; it is false of those that are named in neither field."""

    yes: frozenset[str]
    maybe: frozenset[str] = frozenset()
    """Classes of which it could be argued either way: never a competitor or a target, an `ignore` region."""


CLASSES: tuple[ThingClass, ...] = (
    ThingClass(name="house", plural="houses", ade20k="house", parts=("roof", "door")),
    ThingClass(name="tree", plural="trees", ade20k="tree", parts=("crown", "trunk")),
    ThingClass(name="car", plural="cars", ade20k="car", parts=("wheels",)),
    ThingClass(name="boat", plural="boats", ade20k="boat", parts=("hull", "sail"), home="water"),
    ThingClass(name="lamp", plural="lamps", ade20k="lamp", parts=("shade", "foot")),
    ThingClass(name="fish", plural="fish", ade20k="animal", parts=("tail",), home="water"),
    ThingClass(name="ball", plural="balls", ade20k="ball"),
    ThingClass(name="chair", plural="chairs", ade20k="chair", parts=("back", "seat")),
    ThingClass(name="mushroom", plural="mushrooms", ade20k="food", parts=("cap", "stem")),
    ThingClass(name="flower", plural="flowers", ade20k="flower", parts=("stem",)),
    ThingClass(name="airplane", plural="airplanes", ade20k="airplane", parts=("wing",), home="sky"),
    ThingClass(name="bird", plural="birds", ade20k="animal", parts=("wing",), home="sky"),
    ThingClass(name="bottle", plural="bottles", ade20k="bottle", parts=("label",)),
    ThingClass(name="tent", plural="tents", ade20k="tent", parts=("door",)),
    ThingClass(name="umbrella", plural="umbrellas", ade20k=None, parts=("handle",)),
    ThingClass(name="cup", plural="cups", ade20k=None, parts=("handle",)),
    ThingClass(name="apple", plural="apples", ade20k="food", parts=("leaf",)),
    ThingClass(name="bus", plural="buses", ade20k="bus", parts=("wheels", "windows")),
)
CLASS_BY_NAME = {cls.name: cls for cls in CLASSES}
CLASS_NAMES = tuple(CLASS_BY_NAME)

# RGB, 0 to 255.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (212, 42, 40),
    "orange": (244, 134, 28),
    "yellow": (250, 216, 52),
    "green": (44, 146, 62),
    "blue": (42, 92, 214),
    "purple": (132, 62, 178),
    "pink": (246, 136, 182),
    "white": (244, 244, 240),
}
COLOUR_NAMES = tuple(COLOURS)

# RGB by day; each name is an official ADE20K name.
STUFF: dict[str, tuple[int, int, int]] = {
    "sky": (168, 208, 238),
    "grass": (158, 190, 108),
    "water": (112, 172, 196),
    "sand": (226, 208, 160),
    "road": (142, 140, 142),
    "mountain": (146, 142, 152),
    "hill": (128, 166, 112),
    "field": (202, 184, 112),
}

HELD_OUT_PAIRS: tuple[tuple[str, str], ...] = (
    ("house", "yellow"),
    ("tree", "blue"),
    ("car", "green"),
    ("boat", "red"),
    ("lamp", "green"),
    ("fish", "purple"),
    ("ball", "white"),
    ("chair", "purple"),
    ("mushroom", "orange"),
    ("tent", "blue"),
    ("umbrella", "pink"),
    ("bus", "red"),
)
"""(class, colour) pairs that only the composition split shows; at most one per class."""


def _property(yes: str, maybe: str = "") -> Property:
    return Property(yes=frozenset(yes.split()), maybe=frozenset(maybe.split()))


# Classes that a careful reader could argue about are `maybe`.
PROPERTIES: dict[str, Property] = {
    "sails": _property("boat"),
    "light": _property("lamp"),
    "fly": _property("airplane bird"),
    "flight": _property("airplane"),
    "eat": _property("apple mushroom", maybe="fish"),
    "swim": _property("fish"),
    "wheels": _property("car bus", maybe="airplane"),
    "rain": _property("umbrella"),
    "drink": _property("cup bottle"),
    "sit": _property("chair"),
    "plant": _property("tree flower", maybe="mushroom apple"),
    "sleep": _property("house tent", maybe="boat bus car"),
    "animal": _property("fish bird"),
    "alive": _property("fish bird tree flower", maybe="mushroom apple"),
    "play": _property("ball"),
    "travel": _property("car bus boat airplane"),
}


NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")


def with_article(noun: str) -> str:
    """The noun with "a" or "an" before it."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


@cache
def ade20k_ids() -> dict[str, int]:
    """Official ADE20K name -> pixel value of a label map (1 to 150; 0 is "other")."""
    return {name: line for line, name in enumerate(ADE20K_NAMES_FILE.read_text().splitlines(), start=1)}
