"""Parts one by one: the two wheels of a car, the three windows of a bus."""

from __future__ import annotations

from functools import cache

import numpy as np

from datasets.synthetic.draw import SeenThing
from datasets.synthetic.scene import Thing
from datasets.synthetic.shapes import SHAPES

SINGULAR = {"wheels": "wheel", "windows": "window"}
"""Parts that a thing has several of, and the name of one; every other part is a single one."""
MIN_INSTANCE_PIXELS = 12


def part_name(part: str) -> str:
    """What one instance of a part is called."""
    return SINGULAR.get(part, part)


def part_instances(seen: SeenThing, part: str) -> list[np.ndarray]:
    """An (H, W) bool mask for each instance of a part that can be seen; together they are the part's mask.

    An instance of which only a few pixels are seen is left out, and so the list may be empty.
    """
    mask = seen.parts[part]
    masks = _split(mask, seen.thing, _centres(seen.thing.cls, part)) if part in SINGULAR else [mask]
    return [instance for instance in masks if instance.sum() >= MIN_INSTANCE_PIXELS]


@cache
def _centres(cls: str, part: str) -> np.ndarray:
    """Where the instances are in the square frame of the class: (N, 2)."""
    shapes = [shape for shape in SHAPES[cls] if shape.part == part]
    # A wheel is drawn as two discs around one centre.
    centres = {tuple(np.round((s.points.max(0) + s.points.min(0)) / 2, 3)) for s in shapes}
    return np.array(sorted(centres))


def _split(mask: np.ndarray, thing: Thing, centres: np.ndarray) -> list[np.ndarray]:
    """Each pixel goes to the nearest centre, measured where the thing stands upright."""
    rows, columns = np.nonzero(mask)
    frame = _to_frame(np.stack([columns + 0.5, rows + 0.5], 1), thing)
    nearest = ((frame[:, None] - centres[None]) ** 2).sum(-1).argmin(1)
    instances = np.zeros((len(centres), *mask.shape), bool)
    instances[nearest, rows, columns] = True
    return list(instances)


def _to_frame(pixels: np.ndarray, thing: Thing) -> np.ndarray:
    """Pixels (N, 2) as x, y -> coordinates of the frame; undoes what drawing does to the shapes' points."""
    turn = np.deg2rad(thing.angle)
    turned = (pixels - (thing.x, thing.y)) / thing.size
    upright = turned @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return upright / (thing.stretch**0.5 * (-1 if thing.flip else 1), thing.stretch**-0.5)
