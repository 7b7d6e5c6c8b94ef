import math

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessor

from lisa.grounding import TokenGrounding, mean_words, pointing_accuracy, token_grounding_loss, tower_coverage

SQUASHED = CLIPImageProcessor(size={"height": 8, "width": 8}, do_center_crop=False)
CROPPED = CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})


def test_mean_words_does_not_see_the_padding():
    embeddings = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [99.0, 99.0]]])
    words = torch.tensor([[True, True], [True, False]])
    assert mean_words(embeddings, words).tolist() == [[2.0, 3.0], [5.0, 6.0]]


def test_scores_are_scaled_cosines():
    grounding = TokenGrounding()
    tokens, words = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]]), torch.tensor([[5.0, 0.0]])
    scale = grounding.log_scale.exp().item()
    assert grounding(tokens, words)[0].tolist() == pytest.approx([scale, 0, -scale], rel=1e-5)


def test_the_loss_is_the_divergence_of_the_places_from_the_softmax():
    # softmax (1/2, 1/4, 1/4), wanted (1/2, 1/2, 0): 1/2 log 1 + 1/2 log 2
    logits = torch.tensor([[math.log(2), 0.0, 0.0]])
    assert token_grounding_loss(logits, torch.tensor([[0.4, 0.4, 0.0]])).item() == pytest.approx(0.5 * math.log(2))
    assert token_grounding_loss(logits, torch.tensor([[1.0, 0.5, 0.5]])).item() == pytest.approx(0, abs=1e-6)


def test_a_name_without_any_place_costs_nothing():
    assert token_grounding_loss(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


def test_pointing_is_right_when_the_best_place_lies_on_the_mask():
    logits = torch.tensor([[0.0, 3.0, 1.0], [0.0, 3.0, 1.0]])
    coverage = torch.tensor([[0.0, 0.8, 1.0], [1.0, 0.2, 0.0]])
    assert pointing_accuracy(logits, coverage).tolist() == [True, False]


def test_coverage_of_a_squashed_picture_is_the_share_of_each_patch():
    mask = np.zeros((1, 16, 32), bool)
    mask[0, :8, :8] = True  # the upper half of the left quarter
    # Seen as 8 x 8, in 2 x 2 patches: the mask is 4 x 2 of the 16 pixels of the first patch.
    assert tower_coverage(mask, SQUASHED, grid=2)[0].tolist() == [0.5, 0, 0, 0]


def test_coverage_follows_the_centre_crop():
    mask = np.zeros((2, 16, 32), bool)
    mask[0, :, :8] = True  # cropped off: the tower sees columns 8 to 24
    mask[1, :, 8:16] = True
    assert tower_coverage(mask, CROPPED, grid=2).tolist() == [[0, 0, 0, 0], [1, 0, 1, 0]]


def test_coverage_of_no_masks_is_empty():
    assert tower_coverage(np.zeros((0, 5, 7), bool), SQUASHED, grid=4).shape == (0, 16)
