import numpy as np
import pytest
import torch
from segment_anything.utils.transforms import ResizeLongestSide

from sam_bridge import ImageSize, masks_to_low_res, resize_and_pad, to_original_size

SHAPES = [(480, 640), (640, 480), (64, 64), (33, 250), (250, 33), (1, 1), (7, 5), (100, 3), (128, 5)]


def picture(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("original", "image_size", "resized"),
    [
        ((480, 640), 1024, (768, 1024)),  # x 1.6
        ((333, 250), 1024, (1024, 769)),  # 250 * 1024 / 333 = 768.77
        ((97, 411), 1024, (242, 1024)),  # 97 * 1024 / 411 = 241.67
        ((3, 128), 64, (2, 64)),  # 1.5 is rounded up
        ((5, 128), 64, (3, 64)),  # and so is 2.5
        ((1, 1), 64, (64, 64)),
        ((1, 50), 64, (1, 64)),  # 1.28
        ((200, 1), 64, (64, 1)),  # 0.32 would be nothing
    ],
)
def test_the_longest_side_becomes_the_image_size(original, image_size, resized):
    assert ImageSize.of(original, image_size) == ImageSize(original=original, resized=resized)


@pytest.mark.parametrize("shape", SHAPES)
def test_resized_sizes_are_those_of_segment_anything(shape):
    for side in (64, 1024):
        assert ImageSize.of(shape, side).resized == ResizeLongestSide.get_preprocess_shape(*shape, side)


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_are_those_of_segment_anything(sam, shape):
    image = picture(*shape)
    pixels, size = resize_and_pad(image, 64)
    resized = ResizeLongestSide(64).apply_image(image)
    expected = sam.preprocess(torch.from_numpy(resized).permute(2, 0, 1).float())
    assert size.resized == resized.shape[:2]
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels, expected, rtol=1e-6, atol=1e-6)


def test_a_picture_is_normalised_and_padded_with_zeros_at_the_right_and_the_bottom():
    image = np.full((32, 16, 3), (200, 100, 50), np.uint8)
    pixels, size = resize_and_pad(image, 64)
    assert size.resized == (64, 32)
    expected = [(200 - 123.675) / 58.395, (100 - 116.28) / 57.12, (50 - 103.53) / 57.375]
    assert pixels[:, 63, 31].tolist() == pytest.approx(expected, rel=1e-5)
    assert (pixels[:, :, 32:] == 0).all()
    wide, _ = resize_and_pad(np.ascontiguousarray(image.transpose(1, 0, 2)), 64)
    assert (wide[:, 32:] == 0).all()
    assert (wide[:, :32] != 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_masks_come_back_to_the_original_size_as_in_segment_anything(sam, shape):
    size = ImageSize.of(shape, 64)
    low_res = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    full = to_original_size(low_res, size, 64)
    expected = sam.postprocess_masks(low_res[:, None], size.resized, shape)[:, 0]
    assert full.shape == (3, *shape)
    torch.testing.assert_close(full, expected)


def test_the_padding_is_cut_off_before_the_mask_is_stretched():
    # A tall picture fills the left half of the square: low-res columns 8 to 15 are padding.
    low_res = torch.full((1, 16, 16), -1.0)
    low_res[:, :, :8] = 1.0
    full = to_original_size(low_res, ImageSize.of((100, 50), 64), 64)
    assert (full[0, :, :48] > 0).all()


def test_halves_stay_halves():
    low_res = torch.full((1, 16, 16), -1.0)
    low_res[:, :8] = 1.0
    full = to_original_size(low_res, ImageSize.of((200, 100), 64), 64)[0]
    assert (full[:100] > 0).all()
    assert (full[100:] < 0).all()


def test_no_masks_and_half_precision_are_brought_to_full_size_in_fp32():
    size = ImageSize.of((20, 30), 64)
    assert to_original_size(torch.zeros(0, 16, 16), size, 64).shape == (0, 20, 30)
    full = to_original_size(torch.ones(1, 16, 16, dtype=torch.bfloat16), size, 64)
    assert full.dtype == torch.float32


def test_low_res_targets_are_the_share_of_each_cell_that_is_covered():
    mask = np.zeros((3, 64, 64), bool)
    mask[0, 0, 0] = True  # one of the 16 pixels of a cell
    mask[1, 4:8, 2:10] = True  # half of a cell, a cell, half of a cell
    low_res = masks_to_low_res(mask, ImageSize.of((64, 64), 64), 64, 16)
    assert low_res.shape == (3, 16, 16)
    assert low_res[0, 0, 0] == 1 / 16
    assert low_res[0].sum() == 1 / 16
    assert low_res[1, 1, :4].tolist() == [0.5, 1, 0.5, 0]
    assert low_res[1].sum() == 2
    assert low_res[2].sum() == 0


def test_low_res_targets_go_the_way_of_the_picture_and_the_padding_is_0():
    mask = np.zeros((1, 128, 64), bool)
    mask[0, :, 32:] = True  # the right half; the picture becomes 64 x 32, the cells 4 to 7 of a row
    low_res = masks_to_low_res(mask, ImageSize.of((128, 64), 64), 64, 16)[0]
    assert (low_res[:, 4:8] == 1).all()
    assert low_res.sum() == 16 * 4


def test_low_res_targets_of_no_masks_are_empty():
    assert masks_to_low_res(np.zeros((0, 9, 9), bool), ImageSize.of((9, 9), 64), 64, 16).shape == (0, 16, 16)


@pytest.mark.parametrize("shape", [(200, 120), (40, 64), (31, 7)])
def test_a_target_sent_down_and_up_again_covers_the_same_place(shape):
    mask = np.zeros((1, *shape), bool)
    mask[0, : shape[0] // 2, : shape[1] // 2] = True
    size = ImageSize.of(shape, 64)
    back = to_original_size(masks_to_low_res(mask, size, 64, 16) - 0.5, size, 64)[0].numpy() > 0
    assert (back & mask[0]).sum() / (back | mask[0]).sum() > 0.8
