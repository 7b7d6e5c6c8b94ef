"""Run an annotation job: shard by shard, each done whole or not at all, so that a killed job goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lisa.annotation.plan import Plan
from lisa.annotation.writers import write_all, write_bad_files, write_picture
from lisa.formats import mask_records
from lisa.image_input import to_pixels
from lisa.whole_file import write_whole

if TYPE_CHECKING:
    from lisa.api import Lisa


FINISHED = "finished.json"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came out of a job."""

    pictures: int
    masks: int
    bad: int
    written: str


def annotate(
    lisa: Lisa, plan: Plan, folder: Path, out: Path, work: Path, advance: Callable[[int], None] | None = None
) -> Summary:
    """Do what is left of the plan; advance(pictures) is called for each shard that is done."""
    for number, names, pictures in _read_ahead(left_to_do(plan, work), folder):
        records = answer_shard(lisa, plan, names, pictures)
        for record in records:
            if "error" not in record:
                write_picture(record, plan, folder, out)
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        write_whole(_done(work, number), "".join(lines))
        if advance is not None:
            advance(len(names))
    return _finish(plan, out, work)


def left_to_do(plan: Plan, work: Path) -> list[tuple[int, list[str]]]:
    """Number and pictures of each shard that is not done."""
    if (work / FINISHED).is_file():
        return []
    return [(number, names) for number, names in enumerate(plan.shards) if not _done(work, number).is_file()]


def answer_shard(lisa: Lisa, plan: Plan, names: list[str], pictures: list[np.ndarray | str]) -> list[dict]:
    """A record for each picture of a shard (see `lisa.annotation.writers`)."""
    good = [pixels for pixels in pictures if not isinstance(pixels, str)]
    pairs = ((pixels, prompt) for pixels in good for prompt in plan.prompts)
    answers = lisa.ask_many(pairs, plan.batch_size, max_new_tokens=plan.max_new_tokens)
    records = []
    for name, pixels in zip(names, pictures, strict=True):
        if isinstance(pixels, str):
            records.append({"image": name, "error": pixels})
            continue
        own = [next(answers) for _ in plan.prompts]
        records.append(
            {
                "image": name,
                "height": pixels.shape[0],
                "width": pixels.shape[1],
                "answers": [{"question": one.question, "text": one.text, "masks": mask_records(one)} for one in own],
            }
        )
    return records


def _read_ahead(
    shards: Iterable[tuple[int, list[str]]], folder: Path
) -> Iterator[tuple[int, list[str], list[np.ndarray | str]]]:
    """Each shard with its pictures; those of the next are decoded while the model answers about these."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = None
        for number, names in shards:
            coming = number, names, pool.submit(lambda names=names: [_read(folder, name) for name in names])
            if waiting is not None:
                yield *waiting[:2], waiting[2].result()
            waiting = coming
        if waiting is not None:
            yield *waiting[:2], waiting[2].result()


def _read(folder: Path, name: str) -> np.ndarray | str:
    """The pixels, or why they cannot be had."""
    path = folder / name
    try:
        return to_pixels(path)
    except (ValueError, OSError) as error:
        return " ".join(str(error).replace(str(path), name).split())


def _done(work: Path, number: int) -> Path:
    return work / f"{number:07d}.jsonl"


def _finish(plan: Plan, out: Path, work: Path) -> Summary:
    """Put the shards together; then they are not needed any more."""
    shards = [_done(work, number) for number, _ in enumerate(plan.shards)]
    if not (work / FINISHED).is_file():
        summary = asdict(_put_together(plan, out, shards))
        write_whole(work / FINISHED, json.dumps(summary, ensure_ascii=False))
    for shard in shards:
        shard.unlink(missing_ok=True)
    return Summary(**json.loads((work / FINISHED).read_text(encoding="utf-8")))


def _put_together(plan: Plan, out: Path, shards: list[Path]) -> Summary:
    def records() -> Iterator[dict]:
        for shard in shards:
            with shard.open(encoding="utf-8") as file:
                yield from (json.loads(line) for line in file)

    def good() -> Iterator[dict]:
        return (record for record in records() if "error" not in record)

    written = write_all(good, plan, out)
    bad = [record for record in records() if "error" in record]
    write_bad_files(bad, out)
    masks = sum(len(answer["masks"]) for record in good() for answer in record["answers"])
    return Summary(pictures=len(plan.pictures) - len(bad), masks=masks, bad=len(bad), written=str(written))
