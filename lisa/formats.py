"""Answers in the formats of others: COCO, outlines, supervision, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco_mask

from lisa.extras import require

if TYPE_CHECKING:
    from lisa.results import Answer


def encode_rle(mask: np.ndarray) -> dict:
    """A (H, W) bool mask as COCO RLE with `counts` as text; `pycocotools.mask.decode` reads it back."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def mask_records(answer: Answer) -> list[dict]:
    """For each mask: phrase, scores, bbox [x, y, width, height] and area in pixels, RLE."""
    scores = answer.scores
    return [
        mask_record(encode_rle(mask), phrase, float(expected_iou), float(seg_probability))
        for mask, phrase, expected_iou, seg_probability in zip(
            answer.masks, answer.phrases, scores.expected_iou, scores.seg_probability, strict=True
        )
    ]


def mask_record(rle: dict, phrase: str, expected_iou: float, seg_probability: float) -> dict:
    """One of `mask_records`, of a mask as `encode_rle` gives it."""
    return {
        "phrase": phrase,
        "expected_iou": round(expected_iou, 6),
        "seg_probability": round(seg_probability, 6),
        "bbox": [float(side) for side in coco_mask.toBbox(rle)],
        "area": int(coco_mask.area(rle)),
        "rle": rle,
    }


def answer_record(answer: Answer) -> dict:
    """An answer as plain values for JSON."""
    height, width = answer.masks.shape[1:]
    return {
        "image": {"file_name": answer.image_name, "height": height, "width": width},
        "question": answer.question,
        "text": answer.text,
        "masks": mask_records(answer),
    }


COCO_HEAD = {
    "info": {"description": "Masks and answers of LISA", "url": "", "version": "1.0", "contributor": "LISA"},
    "licenses": [],
}
"""What strict readers of COCO ask for besides images, categories and annotations; without a date, so that the same
answers are the same bytes."""


def coco_instances(answers: Sequence[Answer]) -> dict:
    """COCO instances: an annotation for each mask, a category for each question that has one.

    Answers about the same image (the same name and pixels) share its record, whose `answers` has the words of all of
    them, also where there is no mask.
    """
    shown: list[Answer] = []  # one answer about each image
    images: list[dict] = []
    categories: dict[str, int] = {}
    annotations: list[dict] = []
    for answer in answers:
        record = answer_record(answer)
        name = record["question"] or "object"
        image_id = next((number for number, other in enumerate(shown, start=1) if _same_image(answer, other)), 0)
        if not image_id:
            shown.append(answer)
            image_id = len(shown)
            # Readers tell images by their names, so that one from memory gets one.
            named = record["image"] | {"file_name": answer.image_name or f"image_{image_id}.png"}
            images.append({"id": image_id, **named, "answers": []})
        images[image_id - 1]["answers"].append({"question": record["question"], "answer": record["text"]})
        for mask in record["masks"]:
            category = categories.setdefault(name, len(categories) + 1)
            annotations.append(coco_annotation(len(annotations) + 1, image_id, category, record["text"], mask))
    return coco_document(images, [coco_category(number, name) for name, number in categories.items()], annotations)


def _same_image(one: Answer, other: Answer) -> bool:
    if one.image is None or other.image is None:
        return False
    return one.image_name == other.image_name and np.array_equal(one.image, other.image)


def coco_document(images: list[dict], categories: list[dict], annotations: list[dict]) -> dict:
    """COCO instances of records, with all that strict readers ask for."""
    return {**COCO_HEAD, "images": images, "categories": categories, "annotations": annotations}


def coco_category(number: int, name: str, question: str = "") -> dict:
    """A category; `question` is what was asked where its name is another."""
    asked = {"question": question} if question and question != name else {}
    return {"id": number, "name": name, "supercategory": "", **asked}


def coco_annotation(number: int, image_id: int, category: int, text: str, mask: dict) -> dict:
    """One of `mask_records` as a COCO annotation, with what the model said in fields of its own."""
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category,
        "segmentation": mask["rle"],
        "area": mask["area"],
        "bbox": mask["bbox"],
        "iscrowd": 0,
        "score": mask["expected_iou"],
        "seg_probability": mask["seg_probability"],
        "phrase": mask["phrase"],
        "answer": text,
    }


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The outer outlines of a (H, W) bool mask: (K, 2) int32 each, x and y of pixels on the border."""
    import cv2

    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [contour[:, 0] for contour in contours]


def detections(answer: Answer) -> Any:
    """`supervision.Detections` of an answer."""
    supervision = require("supervision", "to_supervision", "supervision")
    if not len(answer.masks):
        return supervision.Detections.empty()
    return supervision.Detections(
        xyxy=supervision.mask_to_xyxy(answer.masks).astype(np.float32),
        mask=answer.masks,
        confidence=answer.scores.expected_iou,
        class_id=np.zeros(len(answer.masks), int),
        data={"phrase": np.array(answer.phrases), "seg_probability": answer.scores.seg_probability},
    )
