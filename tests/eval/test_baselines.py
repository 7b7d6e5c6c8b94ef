"""Answers without learning, on masks small enough to work out by hand."""

from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest

from eval.baselines import everything, fit_mean_mask, largest, nothing, questions_of_others, stretch


def picture(height: int = 4, width: int = 6, things: np.ndarray | None = None) -> SimpleNamespace:
    return SimpleNamespace(image=np.zeros((height, width, 3), np.uint8), things=things)


def box(height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[rows, columns] = True
    return mask


def test_nothing_and_everything_have_the_pictures_size():
    assert nothing(picture()).shape == everything(picture()).shape == (4, 6)
    assert nothing(picture()).sum() == 0
    assert everything(picture()).sum() == 24


def test_largest_is_the_thing_with_most_pixels_and_the_first_of_equals():
    things = np.stack([box(4, 6, slice(0, rows), slice(0, 2)) for rows in (1, 3, 2)])
    assert np.array_equal(largest(picture(things=things)), things[1])
    equals = np.stack([box(4, 6, slice(0, 1), slice(0, 2)), box(4, 6, slice(0, 2), slice(0, 1))])
    assert np.array_equal(largest(picture(things=equals)), equals[0])


def test_largest_is_empty_in_a_picture_without_things():
    assert largest(picture(things=np.zeros((0, 4, 6), bool))).tolist() == nothing(picture()).tolist()


def test_largest_is_unknown_where_the_data_annotates_no_things():
    assert largest(picture(things=None)) is None


# --- mean training mask ---------------------------------------------------------------------------------


def test_the_mean_mask_of_equal_masks_is_that_mask():
    left = box(128, 128, slice(None), slice(0, 64))
    fitted = fit_mean_mask([left, left])
    assert np.array_equal(fitted, box(64, 64, slice(None), slice(0, 32)))


def test_the_mean_mask_is_cut_where_the_mean_iou_is_best():
    # Nested centre squares of 16, 32 and 64 cells, mean 1, 2/3, 1/3. With the small square as the answer the
    # IoUs are 1, 1/4, 1/16 (mean 0.4375), with the middle 1/4, 1, 1/4 (0.5), with the large 1/16, 1/4, 1.
    squares = [box(64, 64, slice(32 - r, 32 + r), slice(32 - r, 32 + r)) for r in (8, 16, 32)]
    assert np.array_equal(fit_mean_mask(squares), squares[1])


def test_masks_of_any_size_meet_on_the_grid_and_the_result_fits_any_picture():
    # The top half, in three sizes and aspects.
    halves = [box(h, w, slice(0, h // 2), slice(None)) for h, w in ((64, 64), (300, 128), (32, 1000))]
    stretched = stretch(fit_mean_mask(halves), picture(10, 7))
    assert np.array_equal(stretched, box(10, 7, slice(0, 5), slice(None)))
    assert stretched.dtype == bool


def test_thin_targets_are_not_lost_on_the_grid():
    line = box(640, 640, slice(None), slice(5, 6))  # one pixel of the ten that a cell is wide
    assert np.array_equal(fit_mean_mask([line]), box(64, 64, slice(None), slice(0, 1)))


def test_there_is_no_mean_mask_without_training_targets():
    assert fit_mean_mask([]) is None
    assert fit_mean_mask(iter([np.zeros((5, 5), bool)])) is None


def test_an_empty_training_target_among_others_is_taken_in():
    left = box(64, 64, slice(None), slice(0, 32))
    assert np.array_equal(fit_mean_mask([left, np.zeros((64, 64), bool)]), left)


# --- the question of another picture --------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 1), (3, 1, 2), (2, 2), (5, 5, 5, 5), (1, 0, 1), (4, 1, 1, 1, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_every_question_is_asked_once_and_never_of_its_own_picture(sizes, seed):
    questions = [[f"{picture}/{i}" for i in range(size)] for picture, size in enumerate(sizes)]
    swapped = questions_of_others(questions, np.random.default_rng(seed))
    assert [len(of_picture) for of_picture in swapped] == list(sizes)
    assert sorted(chain(*swapped)) == sorted(chain(*questions))
    for i, of_picture in enumerate(swapped):
        assert not any(question.startswith(f"{i}/") for question in of_picture)


def test_the_swap_is_a_function_of_the_seed_and_leaves_its_input_alone():
    questions = [[f"{picture}/{i}" for i in range(3)] for picture in range(20)]
    first, again, other = (questions_of_others(questions, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert questions[0] == ["0/0", "0/1", "0/2"]


@pytest.mark.parametrize("sizes", [(), (0,), (3,), (3, 2), (4, 1, 1, 1)])
def test_no_swap_exists_when_one_picture_holds_more_than_half_of_the_questions(sizes):
    questions = [["?"] * size for size in sizes]
    assert questions_of_others(questions, np.random.default_rng(0)) is None
