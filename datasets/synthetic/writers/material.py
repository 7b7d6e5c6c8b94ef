"""What a writer gets: one picture with all that is said about it, made once for all formats."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2

from datasets.synthetic.dialogue import Exchange, make_dialogue
from datasets.synthetic.draw import Picture, draw_scene
from datasets.synthetic.outlines import to_polygons
from datasets.synthetic.reasoning import Question, make_question
from datasets.synthetic.referring import Ref, make_refs
from datasets.synthetic.scene import sample_scene
from datasets.synthetic.writers.annotations import ID_STEP, refer_annotation

JPEG_QUALITY = 92
MAX_ATTEMPTS = 50
# Below these a thing is as good as lost behind another.
MIN_VISIBILITY = 0.12
MIN_PIXELS = 40


@dataclass(frozen=True)
class Material:
    """One picture and its sentences, each computed when the first writer asks."""

    picture: Picture = field(repr=False)  # long, and slow to print

    @property
    def split(self) -> str:
        """The split of the picture, the same in every format."""
        return self.picture.scene.split

    @property
    def image_id(self) -> int:
        """COCO id, from 1."""
        return self.picture.scene.index + 1

    @cached_property
    def jpeg(self) -> bytes:
        """The file that every format shares."""
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        return cv2.imencode(".jpg", self.picture.image[..., ::-1], options)[1].tobytes()

    @cached_property
    def polygons(self) -> list[list[list[float]]]:
        """For each thing its COCO polygons, in the order of the picture's things."""
        return [to_polygons(seen.mask) for seen in self.picture.things]

    @cached_property
    def annotations(self) -> list[dict]:
        """For each thing its annotation as the refer datasets share it; not to be changed."""
        first, things = self.image_id * ID_STEP, zip(self.picture.things, self.polygons, strict=True)
        return [
            refer_annotation(first + i, self.image_id, seen.thing.cls, seen.mask, polygons)
            for i, (seen, polygons) in enumerate(things)
        ]

    @cached_property
    def refs(self) -> list[Ref]:
        """Referring expressions."""
        return make_refs(self.picture)

    @cached_property
    def question(self) -> Question | None:
        """The reasoning question."""
        return make_question(self.picture)

    @cached_property
    def dialogue(self) -> tuple[Exchange, ...]:
        """Questions and answers in words."""
        return make_dialogue(self.picture)


def make_material(seed: int, index: int) -> Material:
    """Picture `index` of the world `seed`: the first try that shows all things and has some to ask for."""
    for attempt in range(MAX_ATTEMPTS):
        material = Material(draw_scene(sample_scene(seed, index, attempt)))
        things = material.picture.things
        shown = all(seen.visibility >= MIN_VISIBILITY and seen.area >= MIN_PIXELS for seen in things)
        if len(things) >= 2 and shown and material.refs:
            return material
    raise AssertionError(f"nothing to ask in {MAX_ATTEMPTS} tries, seed {seed}, index {index}")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
