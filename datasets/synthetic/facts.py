"""What is true in a picture: nouns and whom they mean, places, sizes, relations; always with a margin.

A fact counts only when it is clear, and its opposite is clear for all others, so that the picture decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from datasets.synthetic.catalog import PROPERTIES
from datasets.synthetic.draw import Picture, SeenThing

SIZE_RATIO = 1.35  # in length, between a larger thing and all its competitors
VISIBLE_RATIO = 1.15  # the same for what is visible of them
PLACE_MARGIN = 0.12  # of the side of the picture, between the leftmost thing and the next
RELATION_MARGIN = 0.1  # of the side of the picture
NEAR = 0.6  # the nearest thing's distance over the next one's
HIDDEN_SHARE = 0.15  # of a thing's area, behind one other


@dataclass(frozen=True, kw_only=True)
class Noun:
    """A description without place, size or relation, and the indices of the things that it fits."""

    text: str
    members: tuple[int, ...]


# Every kind of sentence asks for the nouns of every thing, many times; a picture has at most seven things.
@lru_cache(maxsize=8)
def nouns_of(picture: Picture, index: int) -> tuple[Noun, ...]:
    """ "car", "red car", "red thing", "thing" for thing `index`, in this order."""
    thing = picture.things[index].thing
    everything = range(len(picture.things))
    same_class = [i for i in everything if picture.things[i].thing.cls == thing.cls]
    same_colour = [i for i in everything if picture.things[i].thing.colour == thing.colour]
    both = [i for i in same_class if i in same_colour]
    return (
        Noun(text=thing.cls, members=tuple(same_class)),
        Noun(text=f"{thing.colour} {thing.cls}", members=tuple(both)),
        Noun(text=f"{thing.colour} thing", members=tuple(same_colour)),
        Noun(text="thing", members=tuple(everything)),
    )


def unique_nouns(picture: Picture, index: int) -> list[Noun]:
    """The descriptions with a class that fit this thing only; may be empty."""
    return [noun for noun in nouns_of(picture, index)[:2] if noun.members == (index,)]


def grid_place(picture: Picture, x: float, y: float) -> str:
    """The cell of a 3x3 grid that a point lies in: "top left", "top", ..., "middle", ..., "bottom right"."""
    row = ("top", "", "bottom")[min(int(3 * y / picture.scene.height), 2)]
    column = ("left", "", "right")[min(int(3 * x / picture.scene.width), 2)]
    return " ".join(word for word in (row, column) if word) or "middle"


def canonical_name(picture: Picture, index: int) -> str:
    """The name that training gives each thing: "red car at the top left"."""
    seen = picture.things[index]
    return f"{seen.thing.colour} {seen.thing.cls} at the {grid_place(picture, seen.x, seen.y)}"


def places(picture: Picture, index: int, others: Iterable[int]) -> list[str]:
    """Places that tell thing `index` from all `others`; keys of the place tables."""
    rest = [picture.things[i] for i in others if i != index]
    width, height = picture.scene.width, picture.scene.height
    points = [(seen.x / width, seen.y / height) for seen in rest]
    x, y = picture.things[index].x / width, picture.things[index].y / height
    gap = {
        "left": min(px for px, _ in points) - x,
        "right": x - max(px for px, _ in points),
        "top": min(py for _, py in points) - y,
        "bottom": y - max(py for _, py in points),
    }
    here = {"left": x < 0.5, "right": x > 0.5, "top": y < 0.5, "bottom": y > 0.5}
    found = [side for side in gap if here[side] and gap[side] >= PLACE_MARGIN]
    found += [f"{v} {h}" for v in ("top", "bottom") for h in ("left", "right") if _alone_in_corner(x, y, points, v, h)]
    if _alone_in_middle(x, y, points):
        found.append("middle")
    return found


def _alone_in_corner(x: float, y: float, others: list[tuple[float, float]], vertical: str, horizontal: str) -> bool:
    """Well inside of the corner, while each other is well out of its quarter in one direction."""

    def depth(px: float, py: float) -> float:
        return max(px if horizontal == "left" else 1 - px, py if vertical == "top" else 1 - py)

    return depth(x, y) < 1 / 3 and all(depth(px, py) > 0.5 for px, py in others)


def _alone_in_middle(x: float, y: float, others: list[tuple[float, float]]) -> bool:
    def distance(px: float, py: float) -> float:
        return max(abs(px - 0.5), abs(py - 0.5))

    return distance(x, y) < 0.15 and all(distance(px, py) > 0.27 for px, py in others)


def is_larger(a: SeenThing, b: SeenThing) -> bool:
    """Whether `a` is clearly larger than `b`, both whole and as far as they are seen."""
    return a.full_area >= SIZE_RATIO**2 * b.full_area and a.area >= VISIBLE_RATIO**2 * b.area


def sizes(picture: Picture, index: int, others: Iterable[int]) -> list[str]:
    """ "largest"/"smallest" among others, "larger"/"smaller" than a single other; keys of the size tables."""
    rest = [picture.things[i] for i in others if i != index]
    this = picture.things[index]
    found = []
    if rest and all(is_larger(this, other) for other in rest):
        found.append("largest" if len(rest) > 1 else "larger")
    if rest and all(is_larger(other, this) for other in rest):
        found.append("smallest" if len(rest) > 1 else "smaller")
    return found


def relations(picture: Picture, index: int, members: Iterable[int], anchor: int) -> list[str]:
    """How thing `index`, and no other member, stands to the anchor; keys of the relation tables."""
    rest = [i for i in members if i not in (index, anchor)]
    found = []
    for relation in ("left", "right", "above", "below"):
        offsets = [_offset(picture, i, anchor, relation) for i in rest]
        own = _offset(picture, index, anchor, relation)
        if own >= RELATION_MARGIN and all(offset <= -0.05 for offset in offsets):
            found.append(relation)
    if rest and _distance(picture, index, anchor) <= NEAR * min(_distance(picture, i, anchor) for i in rest):
        found.append("next")
    if hides(picture, front=anchor, back=index) and not any(touches(picture, anchor, i) for i in rest):
        found.append("behind")
    if hides(picture, front=index, back=anchor) and not any(touches(picture, i, anchor) for i in rest):
        found.append("front")
    return found


def _offset(picture: Picture, index: int, anchor: int, relation: str) -> float:
    """How far a thing is to the left of (right of, ...) the anchor, as a share of the picture's side."""
    a, b = picture.things[index], picture.things[anchor]
    dx, dy = (b.x - a.x) / picture.scene.width, (b.y - a.y) / picture.scene.height
    return {"left": dx, "right": -dx, "above": dy, "below": -dy}[relation]


def _distance(picture: Picture, i: int, j: int) -> float:
    a, b = picture.things[i], picture.things[j]
    return ((a.x - b.x) ** 2 + (a.y - b.y) ** 2) ** 0.5


def hides(picture: Picture, front: int, back: int) -> bool:
    """Whether `front` clearly hides a part of `back`."""
    seen = picture.things[back]
    return seen.hidden_by.get(front, 0) >= HIDDEN_SHARE * seen.full_area


def touches(picture: Picture, front: int, back: int) -> bool:
    """Whether `front` hides anything worth mentioning of `back`."""
    seen = picture.things[back]
    return seen.hidden_by.get(front, 0) > 0.02 * seen.full_area


def having(picture: Picture, name: str) -> tuple[list[int], list[int]]:
    """Indices of the things that have a property, and of those of which it could be argued."""
    found = PROPERTIES[name]
    classes = [seen.thing.cls for seen in picture.things]
    return [i for i, c in enumerate(classes) if c in found.yes], [i for i, c in enumerate(classes) if c in found.maybe]
