"""What an annotation job writes, in each format; from records that are JSON already.

A record is one image: `image` (its path below the folder), `height`, `width` and `answers`, one for each prompt, with
`name`, `question`, `text` and `masks` (see `lisa.formats.mask_records`); or `image` and `error`.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path

from pycocotools import mask as coco_mask

from lisa.annotation.plan import Plan, labelme_file, mask_file
from lisa.conversation import IMAGE_PLACEHOLDER
from lisa.drawing import png_bytes
from lisa.formats import COCO_HEAD, coco_annotation, coco_category

Records = Callable[[], Iterable[dict]]
"""All good records, in order; may be asked for several times."""


def files_of(record: dict, plan: Plan, folder: Path, out: Path) -> dict[str, bytes]:
    """The files that one image has of its own, by their paths below the output."""
    if plan.format == "png":
        return {path: png_bytes(coco_mask.decode(mask["rle"]) * 255) for path, mask in _png_files(record)}
    if plan.format == "labelme":
        path = labelme_file(record["image"])
        image = Path(os.path.relpath(folder / record["image"], (out / path).parent)).as_posix()
        return {path: json.dumps(_labelme(record, image), ensure_ascii=False, indent=2).encode()}
    return {}


def result_lines(records: Records, plan: Plan) -> Iterator[str]:
    """The file about all images, piece by piece."""
    return {"coco": _coco, "jsonl": _jsonl, "png": _png_index}[plan.format](records, plan)


def left_out_lines(record: dict, plan: Plan) -> Iterator[tuple[str, str]]:
    """(image, reason) of each answer that json lines cannot hold, since nothing could be learned from it."""
    if plan.format in ("jsonl", "png"):
        for answer in record["answers"]:
            if reason := _reason_against(answer["text"]):
                yield record["image"], f"the answer to {answer['question']!r} is left out: {reason}"


def _coco(records: Records, plan: Plan) -> Iterator[str]:
    """COCO instances: a category for each prompt that has a mask somewhere, an annotation for each mask."""
    pointed = {answer["name"] for one in records() for answer in one["answers"] if answer["masks"]}
    prompts = [prompt for prompt in plan.prompts if prompt.name in pointed]
    categories = {prompt.name: number for number, prompt in enumerate(prompts, start=1)}
    images = (_coco_image(number, one) for number, one in enumerate(records(), start=1))
    numbers = count(1)
    annotations = (
        coco_annotation(next(numbers), image_id, categories[answer["name"]], answer["text"], mask)
        for image_id, one in enumerate(records(), start=1)
        for answer in one["answers"]
        for mask in answer["masks"]
    )
    yield json.dumps(COCO_HEAD, ensure_ascii=False)[:-1] + ',\n"categories": ['
    yield from _joined(coco_category(categories[prompt.name], prompt.name, prompt.question) for prompt in prompts)
    yield '],\n"images": ['
    yield from _joined(images)
    yield '],\n"annotations": ['
    yield from _joined(annotations)
    yield "]}\n"


def _coco_image(number: int, record: dict) -> dict:
    return {
        "id": number,
        "file_name": record["image"],
        "height": record["height"],
        "width": record["width"],
        "answers": _said(record),
    }


def _said(record: dict) -> list[dict]:
    """The words of every answer, those without a mask too."""
    return [{"name": one["name"], "question": one["question"], "answer": one["text"]} for one in record["answers"]]


def _joined(values: Iterable[dict]) -> Iterator[str]:
    for index, value in enumerate(values):
        yield (",\n" if index else "\n") + json.dumps(value, ensure_ascii=False)


def _jsonl(records: Records, plan: Plan) -> Iterator[str]:
    """Lines as `train_ds.py --own_data` reads them, masks as run-length codes."""
    for record in records():
        for answer in record["answers"]:
            yield from _line(record, answer, [mask["rle"] for mask in answer["masks"]])


def _png_index(records: Records, plan: Plan) -> Iterator[str]:
    """The same, masks as names of files."""
    for record in records():
        files = iter([path for path, _ in _png_files(record)])
        for answer in record["answers"]:
            yield from _line(record, answer, [next(files) for _ in answer["masks"]])


def _line(record: dict, answer: dict, masks: list) -> Iterator[str]:
    """A line with a mask for each [SEG]; its scores and phrases are in `meta`. None for an answer it cannot hold."""
    if _reason_against(answer["text"]):
        return
    about = [{name: mask[name] for name in mask if name != "rle"} for mask in answer["masks"]]
    line = {"image": record["image"], "question": answer["question"], "answer": answer["text"], "masks": masks}
    yield json.dumps(line | {"meta": {"name": answer["name"], "masks": about}}, ensure_ascii=False) + "\n"


def _reason_against(text: str) -> str:
    """Why nobody could train on an answer; "" where one can."""
    if not text.strip():
        return "it is empty"
    return f"it holds {IMAGE_PLACEHOLDER}, which stands for the image" if IMAGE_PLACEHOLDER in text else ""


def _png_files(record: dict) -> Iterator[tuple[str, dict]]:
    """(path below the output, mask) of each mask."""
    for prompt, answer in enumerate(record["answers"], start=1):
        for number, mask in enumerate(answer["masks"], start=1):
            yield mask_file(record["image"], prompt, number), mask


def _labelme(record: dict, image: str) -> dict:
    """LabelMe's file of an image: a shape of type mask, which is exact, for each mask that is not empty.

    LabelMe keeps fields that it does not know, such as `answers`, when it saves the file.
    """
    shapes = [
        _labelme_shape(answer["name"], mask) for answer in record["answers"] for mask in answer["masks"] if mask["area"]
    ]
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": None,
        "imageHeight": record["height"],
        "imageWidth": record["width"],
        "answers": _said(record),
    }


def _labelme_shape(label: str, mask: dict) -> dict:
    left, top, width, height = (int(side) for side in mask["bbox"])
    pixels = coco_mask.decode(mask["rle"])[top : top + height, left : left + width]
    return {
        "label": label,
        "points": [[left, top], [left + width - 1, top + height - 1]],
        "group_id": None,
        "description": mask["phrase"],
        "shape_type": "mask",
        "flags": {},
        "mask": base64.b64encode(png_bytes(pixels * 255)).decode("ascii"),
    }
