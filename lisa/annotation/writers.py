"""What an annotation job writes, in each format; from records that are JSON already.

A record is one picture: `image` (its path below the folder), `height`, `width` and `answers`, each with `question`,
`text` and `masks` (see `lisa.formats.mask_records`); or `image` and `error`.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path

from pycocotools import mask as coco_mask

from lisa.annotation.plan import Plan
from lisa.drawing import png_bytes
from lisa.formats import coco_annotation
from lisa.whole_file import whole_file, write_whole

Records = Callable[[], Iterable[dict]]
"""All good records, in order; may be asked for several times."""


def write_picture(record: dict, plan: Plan, folder: Path, out: Path) -> None:
    """The files that one picture has of its own."""
    if plan.format == "png":
        for path, mask in _png_files(record):
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(png_bytes(coco_mask.decode(mask["rle"]) * 255))
    if plan.format == "labelme":
        path = out / Path(record["image"]).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Path(os.path.relpath(folder / record["image"], path.parent)).as_posix()
        path.write_text(json.dumps(_labelme(record, picture), ensure_ascii=False, indent=2), encoding="utf-8")


def write_all(records: Records, plan: Plan, out: Path) -> Path:
    """The file about all pictures, whole or not at all; returns its path, or the folder where there is none."""
    if plan.format == "labelme":
        return out
    path = out / ("annotations.json" if plan.format == "coco" else "annotations.jsonl")
    lines = {"coco": _coco, "jsonl": _jsonl, "png": _png_index}[plan.format](records, plan)
    with whole_file(path) as file:
        file.writelines(lines)
    return path


def refuse_clashes(plan: Plan) -> None:
    """ValueError when two pictures would have the same LabelMe file."""
    if plan.format != "labelme":
        return
    seen: dict[str, str] = {}
    for name, *_ in plan.pictures:
        target = Path(name).with_suffix(".json").as_posix()
        if target in seen:
            raise ValueError(f"{seen[target]} and {name} would both be annotated in {target}; rename one of them")
        seen[target] = name


def _coco(records: Records, plan: Plan) -> Iterator[str]:
    """COCO instances, piece by piece: a category for each prompt, an annotation for each mask."""
    images = (
        {"id": number, "file_name": one["image"], "height": one["height"], "width": one["width"]}
        for number, one in enumerate(records(), start=1)
    )
    numbers = count(1)
    annotations = (
        coco_annotation(next(numbers), image_id, category, answer["text"], mask)
        for image_id, one in enumerate(records(), start=1)
        for category, answer in enumerate(one["answers"], start=1)
        for mask in answer["masks"]
    )
    categories = [{"id": number, "name": prompt} for number, prompt in enumerate(plan.prompts, start=1)]
    yield '{"images": ['
    yield from _joined(images)
    yield '],\n"categories": ['
    yield from _joined(categories)
    yield '],\n"annotations": ['
    yield from _joined(annotations)
    yield "]}\n"


def _joined(values: Iterable[dict]) -> Iterator[str]:
    for index, value in enumerate(values):
        yield (",\n" if index else "\n") + json.dumps(value, ensure_ascii=False)


def _jsonl(records: Records, plan: Plan) -> Iterator[str]:
    """Lines as `train_ds.py --own_data` reads them; scores and phrases are in `meta`."""
    for record, answer in _answers(records):
        meta = [{name: mask[name] for name in mask if name != "rle"} for mask in answer["masks"]]
        yield _line(record, answer, masks=[mask["rle"] for mask in answer["masks"]], meta={"masks": meta})


def _png_index(records: Records, plan: Plan) -> Iterator[str]:
    """Which file is which mask."""
    for record in records():
        files = [path for path, _ in _png_files(record)]
        for answer in record["answers"]:
            masks = [
                {"file": files.pop(0)} | {name: mask[name] for name in mask if name != "rle"}
                for mask in answer["masks"]
            ]
            yield _line(record, answer, masks=masks)


def _answers(records: Records) -> Iterator[tuple[dict, dict]]:
    return ((record, answer) for record in records() for answer in record["answers"])


def _line(record: dict, answer: dict, **more: object) -> str:
    said = {"image": record["image"], "question": answer["question"], "answer": answer["text"], **more}
    return json.dumps(said, ensure_ascii=False) + "\n"


def _png_files(record: dict) -> Iterator[tuple[str, dict]]:
    """(path below the output, mask) of each mask: masks/PICTURE/PROMPT_MASK.png, numbered from 1."""
    for prompt, answer in enumerate(record["answers"], start=1):
        for number, mask in enumerate(answer["masks"], start=1):
            yield f"masks/{record['image']}/{prompt:03d}_{number:02d}.png", mask


def _labelme(record: dict, picture: str) -> dict:
    """LabelMe's file of a picture: a shape of type mask, which is exact, for each mask that is not empty."""
    shapes = [
        _labelme_shape(answer["question"], mask)
        for answer in record["answers"]
        for mask in answer["masks"]
        if mask["area"]
    ]
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": picture,
        "imageData": None,
        "imageHeight": record["height"],
        "imageWidth": record["width"],
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


def write_bad_files(errors: list[dict], out: Path) -> None:
    """`bad_files.txt`: a line for each picture that could not be used, with the reason; none where all could."""
    if errors:
        write_whole(out / "bad_files.txt", "".join(f"{one['image']}\t{one['error']}\n" for one in errors))
