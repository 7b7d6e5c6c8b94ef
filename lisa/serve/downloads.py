"""What a user takes home: masks as PNG, and COCO instances."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import PurePath

from pycocotools import mask as coco_mask

from lisa.drawing import png_bytes
from lisa.formats import coco_annotation, coco_category, coco_document, mask_record
from lisa.serve.limits import RefusedError
from lisa.serve.sessions import AnsweredTurn, Session


def masks_zip(session: Session, turns: Sequence[AnsweredTurn]) -> bytes:
    """An archive of every mask of a session as PNG (0 and 255), named by turn, mask and phrase."""
    _require_masks(turns)
    archive = io.BytesIO()
    stem = PurePath(session.name).stem
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # PNG is compressed already
        for number, turn in enumerate(turns, start=1):
            for index, mask in enumerate(turn.masks, start=1):
                words = re.sub(r"\W+", "_", mask.phrase).strip("_")[:40]
                name = f"{stem}_{number}_{index}" + (f"_{words}" if words else "")
                file.writestr(f"{name}.png", png_bytes(coco_mask.decode(mask.rle) * 255))
    return archive.getvalue()


def coco_json(session: Session, turns: Sequence[AnsweredTurn]) -> bytes:
    """COCO instances of a session: one image, a category for each question with masks, an annotation for each mask."""
    _require_masks(turns)
    questions = list(dict.fromkeys(turn.question for turn in turns if turn.masks))
    annotations: list[dict] = []
    for turn in turns:
        for mask in turn.masks:
            category = questions.index(turn.question) + 1
            record = mask_record(mask.rle, mask.phrase, mask.expected_iou, mask.seg_probability)
            annotations.append(coco_annotation(len(annotations) + 1, 1, category, turn.text, record))
    answers = [{"question": turn.question, "answer": turn.text} for turn in turns]
    image = {"id": 1, "file_name": session.name, "height": session.height, "width": session.width, "answers": answers}
    categories = [coco_category(number, name) for number, name in enumerate(questions, start=1)]
    document = coco_document([image], categories, annotations)
    return json.dumps(document, ensure_ascii=False).encode()


def _require_masks(turns: Sequence[AnsweredTurn]) -> None:
    if not any(turn.masks for turn in turns):
        raise RefusedError(404, "no answer of this session has a mask yet; ask for something first")
