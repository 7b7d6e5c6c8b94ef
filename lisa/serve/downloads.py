"""What a user takes home: masks as PNG, and COCO instances."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import PurePath

from pycocotools import mask as coco_mask

from lisa.drawing import png_bytes
from lisa.formats import coco_annotation, coco_category, coco_document, mask_record
from lisa.serve.limits import RefusedError
from lisa.serve.talks import Talk


def masks_zip(talk: Talk) -> bytes:
    """An archive of every mask of a talk as PNG (0 and 255), named by answer, mask and phrase."""
    _require_masks(talk)
    archive = io.BytesIO()
    stem = PurePath(talk.name).stem
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # PNG is compressed already
        for number, spoken in enumerate(talk.spoken, start=1):
            for index, mask in enumerate(spoken.masks, start=1):
                words = re.sub(r"\W+", "_", mask.phrase).strip("_")[:40]
                name = f"{stem}_{number}_{index}" + (f"_{words}" if words else "")
                file.writestr(f"{name}.png", png_bytes(coco_mask.decode(mask.rle) * 255))
    return archive.getvalue()


def coco_json(talk: Talk) -> bytes:
    """COCO instances of a talk: one image, a category for each question with masks, an annotation for each mask."""
    _require_masks(talk)
    questions = list(dict.fromkeys(spoken.question for spoken in talk.spoken if spoken.masks))
    annotations: list[dict] = []
    for spoken in talk.spoken:
        for mask in spoken.masks:
            category = questions.index(spoken.question) + 1
            record = mask_record(mask.rle, mask.phrase, mask.expected_iou, mask.seg_probability)
            annotations.append(coco_annotation(len(annotations) + 1, 1, category, spoken.text, record))
    said = [{"question": spoken.question, "answer": spoken.text} for spoken in talk.spoken]
    document = coco_document(
        [{"id": 1, "file_name": talk.name, "height": talk.height, "width": talk.width, "answers": said}],
        [coco_category(number, name) for number, name in enumerate(questions, start=1)],
        annotations,
    )
    return json.dumps(document, ensure_ascii=False).encode()


def _require_masks(talk: Talk) -> None:
    if not any(spoken.masks for spoken in talk.spoken):
        raise RefusedError(404, "no answer of this talk has a mask yet; ask for something first")
