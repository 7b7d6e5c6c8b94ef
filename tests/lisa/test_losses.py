import math

import numpy as np
import pytest
import torch

from lisa.losses import balanced_bce_loss, dice_loss, iou_score_loss, mask_bce_loss, mean_over_masks, text_loss

ALL = torch.ones(1, 2, 2)
LOG_3 = math.log(3)  # sigmoid(log 3) = 3/4


def test_bce_of_undecided_logits_is_log_2():
    assert mask_bce_loss(torch.zeros(1, 2, 2), torch.eye(2)[None], ALL).item() == pytest.approx(math.log(2))


def test_bce_is_the_mean_over_pixels():
    logits = torch.tensor([[[LOG_3, LOG_3], [0.0, 0.0]]])  # probabilities 3/4 3/4 1/2 1/2
    targets = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    expected = (math.log(4 / 3) + math.log(4) + 2 * math.log(2)) / 4
    assert mask_bce_loss(logits, targets, ALL).item() == pytest.approx(expected)


def test_bce_leaves_out_pixels_of_weight_0_and_halves_those_of_weight_one_half():
    logits = torch.tensor([[[LOG_3, LOG_3], [0.0, 50.0]]])
    targets = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    weights = torch.tensor([[[1.0, 0.5], [0.0, 0.0]]])
    expected = (math.log(4 / 3) + 0.5 * math.log(4)) / 1.5
    assert mask_bce_loss(logits, targets, weights).item() == pytest.approx(expected)


def test_bce_of_a_picture_that_is_all_ignore_region_is_0():
    assert mask_bce_loss(torch.full((1, 2, 2), 9.0), torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)).item() == 0


def test_balanced_bce_weighs_the_inside_and_the_outside_of_a_small_thing_alike():
    # inside one pixel, log 4; outside three, log 2 each: half of each
    logits = torch.tensor([[[-LOG_3, 0.0], [0.0, 0.0]]])
    target = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    assert balanced_bce_loss(logits, target, ALL).item() == pytest.approx(0.5 * (math.log(4) + math.log(2)))


def test_balanced_bce_does_not_see_pixels_of_weight_0():
    logits, target = torch.tensor([[[0.0, 9.0], [0.0, -9.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    weights = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert balanced_bce_loss(logits, target, weights).item() == pytest.approx(math.log(2))


def test_dice_of_undecided_logits_by_hand():
    # overlap 0.5 / 1000, total (2 + 1) / 1000
    target = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    expected = 1 - (2 * 0.0005 + 1e-6) / (0.003 + 1e-6)
    assert dice_loss(torch.zeros(1, 2, 2), target, ALL).item() == pytest.approx(expected)


def test_dice_is_zero_on_a_perfect_mask():
    target = torch.ones(1, 2, 2)
    assert dice_loss(100 * target, target, ALL).item() == pytest.approx(0, abs=1e-6)


def test_dice_of_an_empty_target_is_1_when_something_is_predicted_and_0_when_nothing_is():
    nothing = torch.zeros(1, 2, 2)
    assert dice_loss(100 * ALL, nothing, ALL).item() == pytest.approx(1 - 1e-6 / (0.004 + 1e-6))
    assert dice_loss(-100 * ALL, nothing, ALL).item() == pytest.approx(0, abs=1e-6)


def test_dice_does_not_see_pixels_of_weight_0():
    weights = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    logits, target = torch.randn(1, 2, 2), torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])
    other = logits.clone()
    other[0, 1] = 77
    assert dice_loss(logits, target, weights).item() == dice_loss(other, target, weights).item()
    assert dice_loss(logits, target, weights).item() == pytest.approx(
        dice_loss(logits[:, :1], target[:, :1], ALL[:, :1]).item()
    )


def test_each_mask_has_a_loss_of_its_own():
    logits, targets = torch.randn(3, 4, 5), torch.rand(3, 4, 5).round()
    for loss in (mask_bce_loss, dice_loss):
        together = loss(logits, targets, torch.ones(1, 4, 5))
        alone = [loss(logits[k : k + 1], targets[k : k + 1], torch.ones(1, 4, 5)).item() for k in range(3)]
        assert together.tolist() == pytest.approx(alone)


def test_mean_over_masks_weighs_masks_and_not_images():
    assert mean_over_masks([torch.tensor([1.0]), torch.tensor([4.0, 4.0, 4.0])]).item() == pytest.approx(13 / 4)


def test_mean_over_no_masks_is_0():
    assert mean_over_masks([torch.zeros(0)]).item() == 0


def reference_mask_losses(logits: list[np.ndarray], targets: list[np.ndarray]) -> tuple[float, float]:
    """LISA's formula, image by image, mask by mask, in float64."""
    bce_sum = dice_sum = 0.0
    num_masks = 0
    for image_logits, image_targets in zip(logits, targets, strict=True):
        bce = dice = 0.0
        for x, g in zip(image_logits.astype(np.float64), image_targets.astype(np.float64), strict=True):
            p = 1 / (1 + np.exp(-x))
            bce += -(g * np.log(p) + (1 - g) * np.log(1 - p)).mean()
            dice += 1 - (2 * (p / 1000 * g).sum() + 1e-6) / ((p / 1000).sum() + (g / 1000).sum() + 1e-6)
        count = len(image_logits)
        bce_sum += bce / (count + 1e-8) * count
        dice_sum += dice / (count + 1e-8) * count
        num_masks += count
    return bce_sum / (num_masks + 1e-8), dice_sum / (num_masks + 1e-8)


def test_mask_losses_are_the_references_formula_over_images_of_different_sizes():
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(n, h, w)).astype(np.float32) for n, h, w in ((1, 7, 9), (3, 20, 11), (0, 4, 4))]
    targets = [rng.random(x.shape) > 0.7 for x in logits]
    targets[1][2] = False  # a no-target mask
    groups = [
        (torch.from_numpy(x), torch.from_numpy(g).float(), torch.ones(1, *x.shape[1:]))
        for x, g in zip(logits, targets, strict=True)
    ]
    bce, dice = reference_mask_losses(logits, targets)
    assert mean_over_masks([mask_bce_loss(*group) for group in groups]).item() == pytest.approx(bce, rel=1e-5)
    assert mean_over_masks([dice_loss(*group) for group in groups]).item() == pytest.approx(dice, rel=1e-5)


def test_text_loss_is_the_mean_over_all_labelled_tokens_of_the_batch():
    # D = V = 2 and logits = states, so the loss of a token is log(1 + e^(wrong - right)).
    hidden = torch.tensor([[[0.0, 0.0], [5.0, 5.0], [LOG_3, 0.0]], [[0.0, LOG_3], [0.0, LOG_3], [9.0, 9.0]]])
    labels = torch.tensor([[-100, 1, -100], [-100, 1, 0]])
    # row 0: label 1 at (0, 0) -> log 2; row 1: label 1 at (0, log 3) -> log 4/3, then label 0 -> log 4
    expected = (math.log(2) + math.log(4 / 3) + math.log(4)) / 3
    assert text_loss(hidden, labels, lambda states: states).item() == pytest.approx(expected)


def test_the_vocabulary_is_only_asked_where_there_are_labels():
    asked = []

    def logits_of(states):
        asked.append(states.shape)
        return states

    labels = torch.full((4, 10), -100)
    labels[2, 7] = 1
    text_loss(torch.randn(4, 10, 6), labels, logits_of)
    assert asked == [(1, 6)]


def test_text_loss_without_any_label_is_0_and_can_be_differentiated():
    hidden = torch.randn(1, 3, 2, requires_grad=True)
    loss = text_loss(hidden, torch.full((1, 3), -100), lambda states: states)
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad.abs().sum() == 0


def test_iou_score_loss_is_the_squared_error_against_the_masks_own_iou():
    logits = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]]])  # predicts the upper two
    targets = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])  # wants the left two: 1 of 3
    assert iou_score_loss(torch.tensor([0.5]), logits, targets, ALL).item() == pytest.approx((0.5 - 1 / 3) ** 2)


def test_iou_score_of_nothing_where_nothing_is_should_be_1():
    nothing = torch.zeros(1, 2, 2)
    assert iou_score_loss(torch.tensor([1.0]), -ALL, nothing, ALL).item() == 0
    assert iou_score_loss(torch.tensor([1.0]), ALL, nothing, ALL).item() == 1


def test_iou_score_loss_does_not_see_pixels_of_weight_0():
    logits, weights = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert iou_score_loss(torch.tensor([1.0]), logits, torch.tensor([[[1.0, 0.0]]]), weights).item() == 0
