"""Images to try, with questions: drawn scenes, which the model that comes with the library knows."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from lisa.serve.limits import RefusedError


@dataclass(frozen=True)
class Example:
    """A file of the folder `examples`, and what may be asked about it."""

    name: str
    title: str
    questions: tuple[str, ...]


EXAMPLES = (
    Example(
        "harbour.jpg",
        "Boats in a harbour",
        (
            "What could carry people over the water? Please output segmentation mask.",
            "Where is the bird? Please output segmentation mask.",
            "Please segment the red boats in this image.",
        ),
    ),
    Example(
        "shore.jpg",
        "Boats and flowers",
        (
            "Which things float on water? Please output segmentation mask.",
            "Please segment the flowers in this image.",
            "Where is the pink boat? Please output segmentation mask.",
        ),
    ),
    Example(
        "cars.jpg",
        "Cars and buses",
        (
            "Where is the green bus? Please output segmentation mask.",
            "Please segment the red cars in this image.",
            "What is in this picture?",
        ),
    ),
    Example(
        "airfield.jpg",
        "Airplanes and buses",
        (
            "What can fly? Please output segmentation mask.",
            "Where is the yellow airplane? Please output segmentation mask.",
            "Where are the wheels of the green bus? Please output segmentation mask.",
        ),
    ),
    Example(
        "camp.jpg",
        "Tents by a lake",
        (
            "Where could people sleep? Please output segmentation mask.",
            "What could someone sit on? Please output segmentation mask.",
            "Where is the red tent? Please output segmentation mask.",
        ),
    ),
)
"""Nothing else of the folder can be asked for."""


def read_example(name: str) -> bytes:
    """The file of an example; RefusedError 404 where there is none of that name."""
    if name not in {example.name for example in EXAMPLES}:
        raise RefusedError(404, f"there is no such example; there are {', '.join(one.name for one in EXAMPLES)}")
    return (files("lisa.serve") / "examples" / name).read_bytes()
