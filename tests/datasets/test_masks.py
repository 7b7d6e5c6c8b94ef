"""Segmentations in COCO's forms."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from datasets.masks import parse_polygon, segmentation_mask, stack

SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]


def compressed(mask: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def test_a_square_covers_the_pixels_between_its_edges():
    expected = np.zeros((4, 5), bool)
    expected[1:3, 1:3] = True
    np.testing.assert_array_equal(segmentation_mask([SQUARE], 4, 5), expected)


def test_overlapping_polygons_are_their_union():
    both = segmentation_mask([SQUARE, SQUARE], 4, 5)
    assert both.dtype == bool
    assert both.sum() == 4


def test_nothing_segmented_is_an_empty_mask():
    mask = segmentation_mask([], 3, 2)
    assert mask.shape == (3, 2)
    assert not mask.any()


@pytest.mark.parametrize("counts", [[2, 1, 3], np.array([2, 1, 3]).tolist()])
def test_run_lengths_go_down_the_columns(counts):
    expected = [[False, False, False], [False, True, False]]
    assert segmentation_mask({"size": [2, 3], "counts": [3, 1, 2]}, 2, 3).tolist() == expected
    assert segmentation_mask([{"size": [2, 3], "counts": counts}], 2, 3).sum() == 1


@pytest.mark.parametrize("density", [0.001, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("as_text", [True, False])
def test_compressed_run_lengths_agree_with_pycocotools(density, as_text):
    mask = np.random.default_rng(0).random((173, 211)) < density
    code = compressed(mask)
    counts = code["counts"].decode() if as_text else code["counts"]
    np.testing.assert_array_equal(segmentation_mask({"size": [173, 211], "counts": counts}, 173, 211), mask)


@pytest.mark.parametrize("mask", [np.zeros((30, 40)), np.ones((30, 40)), np.ones((1, 1)), np.eye(7)])
def test_uniform_masks_survive_compression(mask):
    np.testing.assert_array_equal(segmentation_mask([compressed(mask)], *mask.shape), mask.astype(bool))


def test_polygons_and_run_lengths_in_one_segmentation_are_their_union():
    corner = {"size": [4, 5], "counts": [0, 1, 19]}
    assert segmentation_mask([SQUARE, corner], 4, 5).sum() == 5


def test_a_polygon_that_fills_the_picture_touches_its_border():
    assert segmentation_mask([[0, 0, 5, 0, 5, 4, 0, 4]], 4, 5).all()
    assert segmentation_mask([[0, 0, 1, 0, 1, 1, 0, 1]], 1, 1).all()


def test_what_sticks_out_is_cut_off():
    expected = np.zeros((4, 5), bool)
    expected[:2, :2] = True
    np.testing.assert_array_equal(segmentation_mask([[-3, -2, 2, -2, 2, 2, -3, 2]], 4, 5), expected)
    np.testing.assert_array_equal(segmentation_mask([[3, 2, 9, 2, 9, 7, 3, 7]], 4, 5), expected[::-1, ::-1])


@pytest.mark.parametrize(
    ("xy", "message"),
    [
        ([1, 1, 2, 2], "2 points has no area"),
        ([], "0 points has no area"),
        ([1, 1, 2, 2, 3, 3, 4], "flat list of pairs"),
        ([[1, 1], [2, 2], [3, 3]], "flat list of pairs"),
        ([1, 1, 2, 2, 3, float("nan")], "not a finite number"),
        ([1, 1, 2, 2, float("inf"), 3], "not a finite number"),
        ([1, "a", 2, 2, 3, 3], "list of numbers"),
        ([7, 1, 9, 1, 9, 3], "from x = 7 to 9, outside the picture of 5 x 4"),
        ([1, -3, 2, -1, 3, -2], "from y = -3 to -1, outside"),
        ([0, 0, 1e12, 0, 0, 3], "outside the picture"),
    ],
)
def test_a_polygon_that_cannot_be_drawn_is_refused(xy, message):
    with pytest.raises(ValueError, match=message):
        segmentation_mask([xy], 4, 5)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ({"size": [4, 4], "counts": [16]}, r"of size \[4, 4\], but its picture of \[4, 5\]"),
        ({"counts": [20]}, "of size None"),
        ({"size": 20, "counts": [20]}, "of size 20"),
        ({"size": [4, 5], "counts": [3, 4]}, "cover 7 pixels, not 20"),
        ({"size": [4, 5], "counts": [25, -5]}, "are not lengths"),
        ({"size": [4, 5], "counts": [19.5, 0.5]}, "are not lengths"),
        ({"size": [4, 5], "counts": None}, "are not lengths"),
        ({"size": [4, 5], "counts": ""}, "cut off or damaged"),
        ({"size": [4, 5], "counts": "\u00e9!"}, "cut off or damaged"),
        ({"size": [4, 5], "counts": "o"}, "cut off or damaged"),
        ({"size": [4, 5], "counts": "o" * 30 + "0"}, "more than 60 bits"),
        ({"size": [4, 5], "counts": "34"}, "cover 7 pixels, not 20"),
    ],
)
def test_a_damaged_run_length_code_is_refused(code, message):
    with pytest.raises(ValueError, match=message):
        segmentation_mask(code, 4, 5)


def test_a_segmentation_that_is_no_list_is_refused():
    with pytest.raises(ValueError, match="list of polygons or a run-length code, not 'x'"):
        segmentation_mask("x", 4, 5)


def test_a_stack_of_no_masks_keeps_the_size():
    assert stack([], 4, 5).shape == (0, 4, 5)


def test_a_checked_polygon_keeps_full_precision():
    assert parse_polygon([0.1, 0.2, 3.3, 0.4, 1.5, 2.6], 4, 5).xy.tolist() == [0.1, 0.2, 3.3, 0.4, 1.5, 2.6]
