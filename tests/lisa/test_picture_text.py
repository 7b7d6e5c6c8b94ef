import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessor

from lisa.backbones.llava import seen_box
from lisa.pictures import WHOLE, PictureText, coverage, grid_view, tile_views

SQUASHED = CLIPImageProcessor(size={"height": 8, "width": 8}, do_center_crop=False)
CROPPED = CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
IMAGE, WORD = 7, 3


def picture(count: int, views) -> PictureText:
    return PictureText.of([IMAGE] * count, IMAGE, 0, views)


def test_image_tokens_are_numbered_and_words_are_not():
    text = PictureText.of([WORD, IMAGE, IMAGE, WORD, IMAGE], IMAGE, 0, [])
    assert text.ids.tolist() == [3, 0, 0, 3, 0]
    assert text.image_index.tolist() == [-1, 0, 1, -1, 2]
    assert (text.num_tokens, text.span) == (3, 5)


def test_positions_go_on_after_the_highest_of_the_picture():
    positions = torch.tensor([[0, 0], [1, 1], [1, 2], [3, 3]])
    assert PictureText.of([WORD, IMAGE, IMAGE, WORD], IMAGE, 0, [], positions).span == 4


def test_coverage_of_a_squashed_picture_is_the_share_of_each_patch():
    mask = np.zeros((1, 16, 32), bool)
    mask[0, :8, :8] = True  # the upper half of the left quarter
    # In 2 x 2 patches of 8 x 16 pixels the mask is half of the first one.
    assert seen_box(SQUASHED, (16, 32)) == WHOLE
    assert coverage(mask, picture(4, [grid_view(0, 2, 2)]))[0].tolist() == [0.5, 0, 0, 0]


def test_coverage_follows_the_centre_crop():
    mask = np.zeros((2, 16, 32), bool)
    mask[0, :, :8] = True  # cropped off: the tower sees columns 8 to 24
    mask[1, :, 8:16] = True
    view = grid_view(0, 2, 2, seen_box(CROPPED, (16, 32)))
    assert view.box == (0.25, 0, 0.75, 1)
    assert coverage(mask, picture(4, [view])).tolist() == [[0, 0, 0, 0], [1, 0, 1, 0]]


def test_parts_of_pixels_count():
    mask = np.zeros((1, 3, 3), bool)
    mask[0, 0, 0] = True  # cells of 1.5 x 1.5 pixels
    assert coverage(mask, picture(4, [grid_view(0, 2, 2)]))[0].tolist() == pytest.approx([1 / 2.25, 0, 0, 0])


def test_each_tile_shows_its_part_and_the_last_view_the_whole():
    mask = np.zeros((1, 4, 8), bool)
    mask[0, :2, 4:6] = True
    views = [*tile_views(1, 2, 2), grid_view(8, 1, 1)]
    assert coverage(mask, picture(9, views))[0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 4 / 32]


def test_tokens_in_no_view_show_nothing():
    ones = np.ones((1, 2, 2), bool)
    assert coverage(ones, picture(3, [grid_view(1, 1, 1)]))[0].tolist() == [0, 1, 0]


def test_shares_are_shares_whatever_the_sizes():
    rng = np.random.default_rng(0)
    for height, width in rng.integers(20, 300, (50, 2)):
        masks = rng.random((3, height, width)) > 0.5
        masks[:, height // 3 :] = False
        shares = coverage(masks, picture(64, [grid_view(0, 8, 8, (0.1, 0.0, 0.8, 1.0))]))
        assert shares.min() == 0
        assert shares.max() <= 1


def test_coverage_of_no_masks_is_empty():
    assert coverage(np.zeros((0, 5, 7), bool), picture(16, [grid_view(0, 4, 4)])).shape == (0, 16)
