"""Masks to polygons and back, under both rasterisers that the formats' readers use."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from datasets.synthetic.outlines import has_hole, to_polygons, to_rle


def _by_coco(polygons, shape):
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *shape))).astype(bool)


def _by_opencv(polygons, shape):
    """ReasonSeg's own way: decimals cut off, border drawn, inside filled."""
    canvas = np.zeros(shape, np.uint8)
    for polygon in polygons:
        points = np.array(polygon).reshape(-1, 1, 2).astype(np.int32)
        cv2.polylines(canvas, [points], True, 1, 1)
        cv2.fillPoly(canvas, [points], 1)
    return canvas.astype(bool)


@pytest.fixture
def ring():
    mask = np.zeros((40, 50), bool)
    mask[5:30, 10:40] = True
    mask[12:20, 18:30] = False
    return mask


@pytest.mark.parametrize("rasterise", [_by_coco, _by_opencv])
@pytest.mark.parametrize("box", [(0, 0, 1, 1), (3, 4, 10, 21), (0, 0, 30, 40), (29, 39, 30, 40)])
def test_a_box_comes_back_to_the_pixel(rasterise, box):
    mask = np.zeros((30, 40), bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    assert (rasterise(to_polygons(mask), mask.shape) == mask).all()


def test_pieces_become_polygons_of_their_own():
    mask = np.zeros((20, 40), bool)
    mask[2:10, 3:12] = mask[5:15, 20:33] = True
    polygons = to_polygons(mask)
    assert len(polygons) == 2
    assert min(polygons[0][::2]) == 3.25
    assert max(polygons[1][::2]) == 32.75


def test_a_hole_is_found_and_survives_in_both_forms(ring):
    assert has_hole(ring)
    assert not has_hole(np.ones((4, 4), bool))
    rle = to_rle(ring)
    assert rle["size"] == [40, 50]
    assert isinstance(rle["counts"], str)
    assert (coco_mask.decode(rle).astype(bool) == ring).all()
    (polygon,) = to_polygons(ring)
    joined = _by_coco([polygon], ring.shape)
    assert (joined & ring).sum() / (joined | ring).sum() >= 0.97


def test_drawn_things_come_back(materials):
    for material in materials[:60]:
        for seen in material.picture.things:
            mask = _by_coco(to_polygons(seen.mask), seen.mask.shape)
            assert (mask & seen.mask).sum() / (mask | seen.mask).sum() >= 0.97
