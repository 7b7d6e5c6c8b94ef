"""What an annotation job does: which images, which prompts, how; written down so that a restart does the same."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PureWindowsPath
from typing import Literal

from lisa.annotation.listing import escaped
from lisa.annotation.prompts import Prompt
from lisa.annotation.written import FINISHED, PLAN, WORK, Written, json_object
from lisa.whole_file import write_whole

Format = Literal["coco", "labelme", "png", "jsonl"]

BAD_FILES = "bad_files.txt"

_MASK_FILE = re.compile(r"\d{3,}_\d{2,}\.png")

_LONGEST_NAME, _LONGEST_PATH = 255, 4095
"""Bytes that the file systems of Linux, macOS and Windows take at least, and that Linux takes at most."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job. Two runs with equal plans write the same bytes."""

    images: list[list]
    """[path below the folder, bytes, time of change in nanoseconds] of each image, sorted by path."""
    unusable: list[list]
    """[path as `bad_files.txt` writes it, reason] of what is known to be no use before it is opened."""
    prompts: list[Prompt]
    format: Format
    model: str
    """The model's folder, the time of change of its weights, device and precision."""
    batch_size: int
    max_new_tokens: int

    @property
    def shards(self) -> list[list[str]]:
        """The images, in groups that are answered together and done together or not at all.

        What is in a group does not hang on what was done before: rounding differs with the size of a batch.
        """
        size = max(1, self.batch_size // len(self.prompts))
        names = [name for name, *_ in self.images]
        return [names[start : start + size] for start in range(0, len(names), size)]

    @property
    def result(self) -> str:
        """The file about all images, below the output; "" where each image has its own."""
        return {"coco": "annotations.json", "labelme": ""}.get(self.format, "annotations.jsonl")


def labelme_file(name: str) -> str:
    """Where the annotations of an image lie below the output, for LabelMe."""
    return Path(name).with_suffix(".json").as_posix()


def masks_folder(name: str) -> str:
    """Where the masks of an image lie below the output, as PNG."""
    return f"masks/{name}"


def mask_file(name: str, prompt: int, number: int) -> str:
    """Where one of them lies; prompts and the masks of an answer are numbered from 1."""
    return f"{masks_folder(name)}/{prompt:03d}_{number:02d}.png"


def split_by_format(images: list[list], out: Path, format_: Format) -> tuple[list[list], list[list]]:
    """The images whose result the format can hold, and [path, reason] of the others as `Plan.unusable` has them."""
    good, unusable = [], []
    for image in images:
        reason = _reason_against(image[0], out, format_)
        unusable += [[escaped(image[0]), reason]] * bool(reason)
        good += [image] * (not reason)
    return good, unusable


def _reason_against(name: str, out: Path, format_: Format) -> str:
    if format_ == "labelme" and "\\" in name:
        return "LabelMe takes a backslash for a folder; rename it"
    windows = PureWindowsPath(name)
    if windows.anchor or ".." in windows.parts:
        return "readers of the result would take the name for a path of Windows that leads elsewhere; rename it"
    path = {"labelme": labelme_file(name), "png": mask_file(name, 0, 0)}.get(format_, "")
    if max(map(len, path.encode().split(b"/"))) > _LONGEST_NAME or len(os.fsencode(out / path)) > _LONGEST_PATH:
        return "the file with its result would have a longer name than the system takes; give it a shorter one"
    return ""


def refuse_clashes(plan: Plan) -> None:
    """ValueError when two images would have the same LabelMe file."""
    if plan.format != "labelme":
        return
    seen: dict[str, str] = {}
    for name, *_ in plan.images:
        if (first := seen.setdefault(labelme_file(name), name)) != name:
            raise ValueError(f"{first} and {name} would both be annotated in {labelme_file(name)}; rename one of them")


def begin(plan: Plan, folder: Path, out: Path, fresh: bool) -> tuple[Written, list[str]]:
    """The record of a job that begins or goes on in `out`, and files of the job before that stay, since they changed.

    ValueError when another job was begun there, or when a file that is not the job's is in its way; nothing has been
    touched then.
    """
    written = Written(out)
    begun = json_object(out / WORK / PLAN, images=list, prompts=list) if (out / WORK / PLAN).is_file() else None
    wanted = json.loads(json.dumps(asdict(plan)))
    if begun is None and not fresh:
        _refuse_others(plan, folder, out)
    if begun is not None and not fresh:
        _refuse_another(begun, wanted, out)
    if fresh or not (out / WORK / FINISHED).is_file():
        shards = enumerate(plan.shards)
        written.refuse_foreign(
            _targets(plan, out, (s for n, s in shards if fresh or not done(out / WORK, n).is_file()))
        )
    changed = written.clear() if fresh else []
    (out / WORK).mkdir(parents=True, exist_ok=True)
    if fresh or begun is None:
        write_whole(out / WORK / PLAN, json.dumps(wanted, ensure_ascii=False))
    return written, changed


def done(work: Path, number: int) -> Path:
    """What came out of a shard; there when all of it is done."""
    return work / f"{number:07d}.jsonl"


def _refuse_others(plan: Plan, folder: Path, out: Path) -> None:
    if plan.format == "labelme" and out.is_dir() and out.samefile(folder):
        return  # where LabelMe looks for its files
    if out.is_dir() and any(path.name != WORK for path in out.iterdir()):
        raise ValueError(f"--out {out} holds files of something else; name a new folder, or --fresh to write there")


def _refuse_another(begun: dict, wanted: dict, out: Path) -> None:
    called = {"unusable": "files that cannot be used"}
    other = [called.get(name, name) for name in wanted if begun.get(name) != wanted[name]]
    if other:
        raise ValueError(
            f"--out {out} was begun with other {' and '.join(other)}, so that going on would mix two results; "
            "name a new folder, or give --fresh to begin anew"
        )


def _targets(plan: Plan, out: Path, shards: Iterable[list[str]]) -> Iterable[str]:
    """Every path below `out` that the job may write to."""
    yield from filter(None, (BAD_FILES, plan.result))
    for name in (name for shard in shards for name in shard):
        if plan.format == "labelme":
            yield labelme_file(name)
        if plan.format == "png":  # how many masks there will be is not known yet
            folder = masks_folder(name)
            there = sorted((out / folder).iterdir()) if (out / folder).is_dir() else []
            yield from (f"{folder}/{file.name}" for file in there if _MASK_FILE.fullmatch(file.name))
            yield mask_file(name, 0, 0)  # no mask has this number; its folder must be one
