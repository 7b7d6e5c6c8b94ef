"""`lisa ask`: one question about one picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lisa.cli.flags import ModelFlags


@dataclass(frozen=True, kw_only=True)
class Ask(ModelFlags):
    """Ask one question about one picture.

    lisa ask photo.jpg "Please segment the boats in this image."

    lisa ask photo.jpg "Where is the cup? Please output segmentation mask." --out masks --model xinlai/LISA-7B-v1

    lisa ask https://example.org/photo.jpg "What is in this picture?" --allow-url --json | jq .text
    """

    image: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """The picture: a file, or with --allow-url an http(s) address."""
    question: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="QUESTION")]
    """What to ask, in quotes."""
    out: Path | None = Path("out")
    """Folder for the answer as JSON, its masks (PNG, 0 and 255) and an overlay; None writes nothing."""
    allow_url: bool = False
    """Fetch a picture from the network."""
    json: bool = False
    """Print the answer as JSON: text, and phrase, scores, box, area and RLE of each mask."""

    def problems(self) -> Iterator[str]:
        """What is wrong with image and folder, by their names alone."""
        if "://" not in self.image and not Path(self.image).exists():
            yield f"{self.image}: no such picture"
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            yield f"--out {self.out} is a file; name a folder"

    def run(self) -> int:
        """Print the answer, write its files."""
        from lisa.image_input import name_of, to_pixels
        from lisa.questions import checked_question

        # What is wrong with them is told before the model loads.
        pixels, question = to_pixels(self.image, allow_url=self.allow_url), checked_question(self.question)
        answer = self.load().ask(pixels, question, max_new_tokens=self.max_new_tokens)
        stem = Path(name_of(self.image)).stem
        written = answer.save(self.out, stem) if self.out is not None else []
        record = answer.to_dict()
        record["image"]["file_name"] = name_of(self.image)
        if self.json:
            print(json.dumps(record | {"files": [str(path) for path in written]}, ensure_ascii=False))
            return 0
        print(answer.text)
        if not len(answer.masks):
            print("(this answer points at nothing: no mask)")
        for mask in record["masks"]:
            print(
                f"  {mask['area']} pixels, expected IoU {mask['expected_iou']:.2f}, "
                f"[SEG] {mask['seg_probability']:.2f}  {mask['phrase']}"
            )
        for path in written:
            print(f"  {path}")
        return 0
