"""Run an annotation job: shard by shard, each done whole or not at all, so that a killed job goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lisa.annotation.listing import escaped
from lisa.annotation.plan import BAD_FILES, Plan, done
from lisa.annotation.writers import files_of, left_out_lines, result_lines
from lisa.annotation.written import FINISHED, RECORD, Written, json_object
from lisa.formats import mask_records
from lisa.image_input import to_pixels
from lisa.whole_file import write_whole

if TYPE_CHECKING:
    from lisa.annotation.prompts import Prompt
    from lisa.api import Lisa
    from lisa.results import Answer


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came out of a job."""

    pictures: int
    masks: int
    bad: int
    """Lines of `bad_files.txt`."""
    written: str


def annotate(
    lisa: Lisa, plan: Plan, folder: Path, written: Written, advance: Callable[[int], None] | None = None
) -> Summary:
    """Do what is left of the plan; advance(images) is called for each shard that is done."""
    work = written.work
    for number, names, images in _read_ahead(left_to_do(plan, work), folder):
        records = answer_shard(lisa, plan, names, images)
        files = [files_of(record, plan, folder, written.out) for record in records if "error" not in record]
        written.write({path: data for of_one in files for path, data in of_one.items()})
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        write_whole(done(work, number), "".join(lines))
        if advance is not None:
            advance(len(names))
    return _finish(plan, written)


def left_to_do(plan: Plan, work: Path) -> list[tuple[int, list[str]]]:
    """Number and images of each shard that is not done."""
    if (work / FINISHED).is_file():
        return []
    return [(number, names) for number, names in enumerate(plan.shards) if not done(work, number).is_file()]


def answer_shard(lisa: Lisa, plan: Plan, names: list[str], images: list[np.ndarray | str]) -> list[dict]:
    """A record for each image of a shard (see `lisa.annotation.writers`)."""
    answered = iter(_answers(lisa, plan, [pixels for pixels in images if not isinstance(pixels, str)]))
    records = []
    for name, pixels in zip(names, images, strict=True):
        answers = pixels if isinstance(pixels, str) else next(answered)
        if isinstance(answers, str):
            records.append({"image": name, "error": answers})
            continue
        said = [_answer_record(prompt, answer) for prompt, answer in zip(plan.prompts, answers, strict=True)]
        records.append({"image": name, "height": pixels.shape[0], "width": pixels.shape[1], "answers": said})
    return records


def _answers(lisa: Lisa, plan: Plan, images: list[np.ndarray]) -> list[list[Answer] | str]:
    """For each image the answers to all prompts, or why this model cannot be asked about it."""
    pairs = ((pixels, prompt.question) for pixels in images for prompt in plan.prompts)
    try:
        answers = list(lisa.ask_many(pairs, plan.batch_size, max_new_tokens=plan.max_new_tokens))
    except ValueError as error:  # some vision towers take no image that is 200 times as wide as it is high
        if len(images) == 1:
            return [f"this model cannot be asked about it ({error})"]
        return [one for pixels in images for one in _answers(lisa, plan, [pixels])]
    number = len(plan.prompts)
    return [answers[start : start + number] for start in range(0, len(answers), number)]


def _answer_record(prompt: Prompt, answer: Answer) -> dict:
    said = {"name": prompt.name, "question": prompt.question, "text": answer.text}
    return said | {"masks": mask_records(answer)}


def _read_ahead(
    shards: Iterable[tuple[int, list[str]]], folder: Path
) -> Iterator[tuple[int, list[str], list[np.ndarray | str]]]:
    """Each shard with its images; those of the next are decoded while the model answers about these."""
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
    except Exception as error:  # whatever a decoder makes of a damaged file: the file is listed, the job goes on
        reason = str(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
        return " ".join(reason.replace(str(path), name).split())


def _finish(plan: Plan, written: Written) -> Summary:
    """Put the shards together; then they are not needed any more."""
    finished = written.work / FINISHED
    shards = [done(written.work, number) for number, _ in enumerate(plan.shards)]
    if not finished.is_file():
        summary = asdict(_put_together(plan, written, shards))
        write_whole(finished, json.dumps({"summary": summary, "files": written.files}, ensure_ascii=False))
    for path in (*shards, written.work / RECORD):
        path.unlink(missing_ok=True)
    return Summary(**json_object(finished, summary=dict)["summary"])


def _put_together(plan: Plan, written: Written, shards: list[Path]) -> Summary:
    def records() -> Iterator[dict]:
        for shard in shards:
            with shard.open(encoding="utf-8") as file:
                yield from (json.loads(line) for line in file)

    def good() -> Iterator[dict]:
        return (record for record in records() if "error" not in record)

    if plan.result:
        written.write_lines(plan.result, result_lines(good, plan))
    bad = [(record["image"], record["error"]) for record in records() if "error" in record]
    said = [line for record in good() for line in left_out_lines(record, plan)]
    lines = [[escaped(name), reason] for name, reason in bad + said] + plan.unusable
    if lines:
        written.write_lines(BAD_FILES, (f"{name}\t{escaped(reason)}\n" for name, reason in sorted(lines)))
    masks = sum(len(answer["masks"]) for record in good() for answer in record["answers"])
    return Summary(
        pictures=len(plan.images) - len(bad), masks=masks, bad=len(lines), written=str(written.out / plan.result)
    )
