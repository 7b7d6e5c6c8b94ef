"""A second, simpler reader of sentences, which knows words and masks only."""

import json
import pickle

import numpy as np

from datasets.synthetic.catalog import CLASS_NAMES, CLASSES, COLOUR_NAMES

SINGULAR = {cls.plural: cls.name for cls in CLASSES} | {"things": "thing"}


def fitting_things(picture, words):
    """Things that the colour and the class among some words fit; "thing" fits all."""
    cls, colour = set(words) & set(CLASS_NAMES), set(words) & set(COLOUR_NAMES)
    assert len(cls) + ("thing" in words) == 1
    assert len(colour) <= 1
    return [
        i
        for i, seen in enumerate(picture.things)
        if (not cls or seen.thing.cls in cls) and (not colour or seen.thing.colour in colour)
    ]


def centre(picture, index):
    rows, columns = np.nonzero(picture.things[index].mask)
    return (columns.mean() + 0.5) / picture.scene.width, (rows.mean() + 0.5) / picture.scene.height


def singular(words):
    """The same words, with every plural of a class in the singular."""
    return [SINGULAR.get(word, word) for word in words]


def cell(picture, index):
    """(column, row) of the 3x3 grid that a thing's centre lies in."""
    x, y = centre(picture, index)
    return int(3 * x), int(3 * y)


def is_related(picture, index, words, anchor):
    """Whether a thing stands left of, right of, above or below the anchor, by their centres."""
    axis, sign = {"left": (0, -1), "right": (0, 1), "higher": (1, -1), "above": (1, -1)}.get(words, (1, 1))
    return sign * (centre(picture, index)[axis] - centre(picture, anchor)[axis]) > 0


def read_refs(path):
    """The records of refs(*).p or grefs(*).json."""
    content = path.read_bytes()
    return pickle.loads(content) if path.suffix == ".p" else json.loads(content)
