import numpy as np
import pytest
import torch
from small_model import PATCHES, ask, picture, small_lisa
from transformers import CLIPImageProcessor

from lisa.processing import LisaProcessor

IMAGES = [picture(32, 64, seed=1), picture(40, 20, seed=2)]
TALK = [[ask("Where?", "[SEG]."), ask("And the dog?", "[SEG] and [SEG].")], [ask("Where?", "No.")]]


@pytest.fixture(scope="module")
def grounded():
    """A processor that reads names, which those of models without phrase grounding do not."""
    return small_lisa(ground_loss_weight=1.0)[1]


def make_batch(processor, **changes):
    masks = [np.zeros((3, 32, 64), bool), np.zeros((0, 40, 20), bool)]
    masks[0][0, :16, :32] = True
    masks[0][2, 31, 63] = True
    ignore = [np.zeros((32, 64), bool), np.zeros((40, 20), bool)]
    ignore[0][:, 60:] = True
    return processor(IMAGES, TALK, masks=masks, ignore=ignore, **changes)


def test_offset_tells_which_conversations_are_of_which_image(small):
    assert make_batch(small[1]).offset.tolist() == [0, 2, 3]
    assert small[1](IMAGES, [TALK[0], []]).offset.tolist() == [0, 2, 2]


def test_shapes_and_sizes_of_a_batch(small):
    batch = make_batch(small[1])
    assert batch.pixel_values.shape == (2, 3, 32, 32)
    assert batch.sam_pixels.shape == (2, 3, 64, 64)
    assert [size.original for size in batch.sizes] == [(32, 64), (40, 20)]
    assert [size.resized for size in batch.sizes] == [(32, 64), (64, 32)]
    assert batch.rows.image_of_row.tolist() == [0, 1]
    assert ((batch.rows.image_index >= 0).sum(1) == PATCHES).all()


def test_low_res_targets_are_shares_of_cells(small):
    low_res = make_batch(small[1]).targets.low_res  # cells of 4 x 4 pixels of a picture that keeps its size
    assert low_res.shape == (3, 16, 16)
    assert low_res[0].sum() == 4 * 8
    assert (low_res[0, :4, :8] == 1).all()
    assert low_res[1].sum() == 0
    assert low_res[2, 7, 15] == 1 / 16


def test_neither_padding_nor_ignore_region_counts(small):
    counts = make_batch(small[1]).targets.low_res_counts
    assert counts.shape == (2, 16, 16)
    assert (counts[0, :8, :15] == 1).all()
    assert counts[0].sum() == 8 * 15  # lower half: padding; last column of cells: ignore region
    assert counts[1].sum() == 16 * 8


def test_masks_of_the_pictures_own_size_are_kept_for_losses_at_that_size(small):
    targets = make_batch(small[1]).targets
    assert [tuple(mask.shape) for mask in targets.masks] == [(3, 32, 64), (0, 40, 20)]
    assert [int(counts.sum()) for counts in targets.counts] == [32 * 60, 40 * 20]


def test_names_belong_to_their_masks_and_images(grounded):
    batch = make_batch(grounded, names=[["red ball", "", "dog"], []])
    names = batch.names
    decode = grounded.tokenizer.decode
    texts = [decode(ids[real]) for ids, real in zip(names.words, names.real, strict=True)]
    assert texts == [" red ball", " dog"]
    assert names.mask_index.tolist() == [0, 2]
    assert names.image_of.tolist() == [0, 0]
    # the picture squashed to 32 x 32 in 4 x 4 patches: its upper left quarter
    coverage = batch.targets.coverage[names.mask_index[0]]
    assert coverage.view(4, 4).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]


def test_names_of_the_second_image_count_on_from_the_first(grounded):
    masks = [np.ones((2, 32, 64), bool), np.ones((1, 40, 20), bool)]
    ignore = [np.zeros((32, 64), bool), np.zeros((40, 20), bool)]
    batch = grounded(IMAGES, [TALK[0], TALK[1]], masks=masks, ignore=ignore, names=[["", "a"], ["b"]])
    assert batch.names.mask_index.tolist() == [1, 2]
    assert batch.names.image_of.tolist() == [0, 1]


def test_a_name_that_several_questions_share_is_read_once_for_each_picture(grounded):
    masks = [np.ones((3, 32, 64), bool), np.ones((1, 40, 20), bool)]
    ignore = [np.zeros((32, 64), bool), np.zeros((40, 20), bool)]
    batch = grounded(IMAGES, TALK, masks=masks, ignore=ignore, names=[["a", "b", "a"], ["a"]])
    assert batch.names.image_of.tolist() == [0, 0, 1]
    assert batch.names.mask_index.tolist() == [2, 1, 3]


def test_no_names_at_all_give_empty_tensors(grounded):
    names = make_batch(grounded, names=[["", "", ""], []]).names
    assert (len(names.words), len(names.mask_index)) == (0, 0)


def test_names_are_not_read_for_a_model_without_phrase_grounding(small):
    batch = make_batch(small[1], names=[["red ball", "", "dog"], []])
    assert (batch.names, batch.targets.coverage) == (None, None)


def test_to_moves_every_tensor(grounded):
    moved = make_batch(grounded, names=[["a", "b", "c"], []]).to("meta")
    tensors = [moved.rows.input_ids, moved.offset, moved.sam_pixels, moved.targets.low_res, moved.targets.masks[0]]
    assert {tensor.device.type for tensor in [*tensors, moved.names.words]} == {"meta"}
    assert moved.sizes == make_batch(grounded).sizes


@pytest.mark.parametrize("shape", [(1, 1), (2, 100), (100, 2)])
def test_pictures_of_extreme_shape_are_read(small, shape):
    batch = small[1]([picture(*shape)], [[ask("Where?")]])
    assert batch.pixel_values.shape == (1, 3, 32, 32)
    assert torch.isfinite(batch.sam_pixels).all()


def test_the_tower_sees_what_its_own_image_processor_makes(small):
    processor = small[1]
    own = processor.image_processor(IMAGES[0], return_tensors="pt").pixel_values
    torch.testing.assert_close(processor.tower_pixels(IMAGES[:1]), own)


def test_a_cropping_image_processor_gives_its_own_crop(small):
    cropping = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LisaProcessor(small[1].config, small[1].tokenizer, cropping)
    middle = np.ascontiguousarray(IMAGES[0][:, 16:48])
    torch.testing.assert_close(processor.tower_pixels(IMAGES[:1]), processor.tower_pixels([middle]))
