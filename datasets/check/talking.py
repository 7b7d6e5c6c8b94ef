"""LLaVA-Instruct: conversations in words about pictures of COCO."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

from datasets.check.shelf import Exhibit, nothing
from datasets.check.visit import Visit
from datasets.files import field, inside
from datasets.templates import IMAGE_LINE
from datasets.vqa import read_conversation
from lisa.conversation import Conversation


def check_vqa(visit: Visit) -> None:
    """llava_dataset/<dataset>.json about pictures of coco/train2017."""
    source = visit.tree / f"llava_dataset/{visit.dataset}.json"
    records = visit.json(source)
    if records is None:
        return
    if not isinstance(records, list) or not records:
        visit.problems.add("field", source, "", "holds no list of conversations")
        return
    images = visit.tree / "coco/train2017"
    talks: list[tuple[Path, Conversation]] = []
    mentions: dict[Path, str] = {}
    tally = visit.row(visit.dataset)
    for index, record in enumerate(records):
        tally.samples += 1
        path = _image(visit, source, index, record, images)
        if path is not None:
            mentions.setdefault(path, f"record {index} of {source}")
        with visit.problems.guard("conversation", source, f"record {index}"):
            where = f"{source}: record {index}"
            conversation = read_conversation(field(record, "conversations", list, where), where)
            visit.texts.add(source, f"record {index}", conversation)
            tally.sentences += sum(turn.role == "user" for turn in conversation.turns)
            if path is not None:
                talks.append((path, conversation))
    tally.images = len(mentions)
    headers = visit.headers(mentions)
    for path, conversation in talks:
        if path in headers:
            visit.shelf.offer(visit.dataset, partial(_exhibit, path, conversation))


def _image(visit: Visit, source: Path, index: int, record: Any, images: Path) -> Path | None:
    """The picture of a record; None, and a problem, where the record does not name one below `images`."""
    with visit.problems.guard("image record", source, f"record {index}"):
        return inside(images, field(record, "image", str, f"{source}: record {index}"))
    return None


def _exhibit(path: Path, conversation: Conversation, rng: random.Random) -> Exhibit:
    turn = rng.randrange(0, len(conversation.turns), 2)
    question, answer = (conversation.turns[turn + i].text for i in (0, 1))
    return Exhibit(path=path, question=question.removeprefix(IMAGE_LINE), answer=answer, regions=nothing)
