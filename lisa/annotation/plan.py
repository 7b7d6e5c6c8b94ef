"""What an annotation job does: which pictures, which prompts, how; written down so that a restart does the same."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from lisa.image_input import SUFFIXES
from lisa.questions import checked_question
from lisa.whole_file import write_whole

Format = Literal["coco", "labelme", "png", "jsonl"]

WORK = ".lisa"
"""Folder below the output in which a job keeps its plan and what is done."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job. Two runs with equal plans write the same bytes."""

    pictures: list[list]
    """[path below the folder, bytes, time of change in nanoseconds] of each picture, sorted by path."""
    prompts: list[str]
    format: Format
    model: str
    """The model's folder, the time of change of its weights, device and precision."""
    batch_size: int
    max_new_tokens: int

    @property
    def shards(self) -> list[list[str]]:
        """The pictures, in groups that are answered together and done together or not at all.

        What is in a group does not hang on what was done before: rounding differs with the size of a batch.
        """
        size = max(1, self.batch_size // len(self.prompts))
        names = [name for name, *_ in self.pictures]
        return [names[start : start + size] for start in range(0, len(names), size)]


def read_prompts(path: Path) -> list[str]:
    """One question per line; blank lines and those that begin with # are left out."""
    if not path.is_file():
        raise FileNotFoundError(f"--prompts {path}: there is no such file; write one question per line into it")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"--prompts {path}: not UTF-8 ({error}); save it as UTF-8") from error
    prompts = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            prompts.append(checked_question(line))
        except ValueError as error:
            raise ValueError(f"--prompts {path}: line {number}: {error}") from error
        if prompts[-1] in prompts[:-1]:
            raise ValueError(f"--prompts {path}: line {number} asks again what was asked before; remove it")
    if not prompts:
        raise ValueError(f"--prompts {path}: holds no question; write one per line")
    return prompts


def find_pictures(folder: Path, out: Path) -> list[list]:
    """The pictures below a folder, as a plan lists them; what lies below `out` is not among them."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder of pictures")
    found = []
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        folders[:] = [name for name in folders if not name.startswith(".") and (here / name).resolve() != out.resolve()]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                state = (here / name).stat()
                found.append([(here / name).relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns])
    if not found:
        raise ValueError(f"{folder}: no picture in it (files that end in {', '.join(SUFFIXES)})")
    return sorted(found)


def begin(plan: Plan, out: Path, fresh: bool) -> Path:
    """The folder of what is done, for a job that begins or goes on; ValueError when another job was begun in `out`."""
    work = out / WORK
    if (work / "plan.json").is_file():
        if fresh:
            _clear(out, work)
    elif not fresh and out.is_dir() and any(path.name != WORK for path in out.iterdir()):
        raise ValueError(f"--out {out} holds files of something else; name a new folder, or --fresh to write there")
    work.mkdir(parents=True, exist_ok=True)
    wanted = json.loads(json.dumps(asdict(plan)))
    if (work / "plan.json").is_file():
        begun = json.loads((work / "plan.json").read_text(encoding="utf-8"))
        other = [name for name in wanted if begun.get(name) != wanted[name]]
        if other:
            raise ValueError(
                f"--out {out} was begun with other {' and '.join(other)}, so that going on would mix two results; "
                "name a new folder, or give --fresh to begin anew"
            )
    else:
        write_whole(work / "plan.json", json.dumps(wanted, ensure_ascii=False))
    return work


def _clear(out: Path, work: Path) -> None:
    """Remove what the job that was begun in `out` has written; other files stay."""
    begun = json.loads((work / "plan.json").read_text(encoding="utf-8"))
    if begun["format"] == "png":
        shutil.rmtree(out / "masks", ignore_errors=True)
    if begun["format"] == "labelme":
        for name, *_ in begun["pictures"]:
            (out / name).with_suffix(".json").unlink(missing_ok=True)
    for name in ("annotations.json", "annotations.jsonl", "bad_files.txt"):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(work)
