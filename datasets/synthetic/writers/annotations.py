"""COCO annotations as the refer format has them."""

from __future__ import annotations

import numpy as np

from datasets.synthetic.catalog import CLASSES
from datasets.synthetic.outlines import has_hole, to_polygons, to_rle

# Ids of a picture's annotations, refs and sentences start here times its id.
ID_STEP = 100

CATEGORIES = [cls.name for cls in CLASSES] + [f"{part} of {cls.name}" for cls in CLASSES for part in cls.parts]

Segmentation = list[list[float]] | list[dict]  # polygons, or one RLE where a mask has a hole


def refer_annotation(
    annotation_id: int, image_id: int, category: str, mask: np.ndarray, polygons: list[list[float]] | None = None
) -> dict:
    """The annotation of an (H, W) bool mask; `polygons` are its outlines where they are known already."""
    category_id = CATEGORIES.index(category) + 1
    return coco_annotation(annotation_id, image_id, category_id, mask, _segmentation(mask, polygons))


def _segmentation(mask: np.ndarray, polygons: list[list[float]] | None) -> Segmentation:
    if has_hole(mask):
        return [to_rle(mask)]
    return polygons if polygons is not None else to_polygons(mask)


def coco_annotation(
    annotation_id: int, image_id: int, category_id: int, mask: np.ndarray, segmentation: Segmentation | dict
) -> dict:
    """A record of instances.json; box and area are those of the (H, W) bool mask, in pixels."""
    rows, columns = np.nonzero(mask)
    x, y = int(columns.min()), int(rows.min())
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": segmentation,
        "bbox": [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y],
        "area": len(rows),
        "iscrowd": 0,
    }


def plain_segmentation(segmentation: Segmentation) -> Segmentation | dict:
    """The same as pycocotools reads it: one RLE stands without a list around it."""
    return segmentation[0] if isinstance(segmentation[0], dict) else segmentation
