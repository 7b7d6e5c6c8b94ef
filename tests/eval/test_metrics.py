"""gIoU, cIoU, precision and intervals, by hand and against the official code's numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from eval.metrics import (
    Counts,
    Overlap,
    ciou,
    confidence_intervals,
    giou,
    mask_overlap,
    no_target_accuracy,
    precision,
    sample_ious,
    summarise,
)

GOLDENS = Path(__file__).parents[1] / "goldens"


def counts_of(*pairs: tuple[int, int], pictures: list[int] | None = None) -> Counts:
    return Counts.of([Overlap(*pair, *pair) for pair in pairs], pictures or list(range(len(pairs))))


def mask(*rows: str) -> np.ndarray:
    return np.array([[character == "x" for character in row] for row in rows])


NO_IGNORE = mask("....", "....")


def test_overlap_counts_the_pixels_of_a_small_picture():
    overlap = mask_overlap(mask("xx..", "xx.."), mask(".xx.", ".xx."), NO_IGNORE)
    assert overlap == Overlap(intersection=2, union=6, predicted=4, wanted=4)


def test_ignored_pixels_leave_intersection_and_union():
    prediction, target = mask("xx..", "xx.."), mask(".xx.", ".xx.")
    # Ignored: one shared pixel, one that only the prediction has, one that neither has.
    assert mask_overlap(prediction, target, mask("xx.x", "....")) == Overlap(1, 4, predicted=2, wanted=3)


def test_a_prediction_that_lies_on_ignored_pixels_only_is_an_empty_prediction():
    overlap = mask_overlap(mask("xx..", "...."), mask("....", "...."), mask("xx..", "...."))
    assert overlap == Overlap(0, 0, predicted=0, wanted=0)


def test_overlap_leaves_its_inputs_as_they_were():
    prediction, target, ignore = mask("xx..", "...."), mask(".x..", "...."), mask("x...", "....")
    before = [array.copy() for array in (prediction, target, ignore)]
    mask_overlap(prediction, target, ignore)
    assert all(map(np.array_equal, before, (prediction, target, ignore)))


def test_masks_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 4\).*\(2, 4\)"):
        mask_overlap(mask("xx.."), mask("xx..", "...."), NO_IGNORE)


def test_nothing_predicted_where_nothing_was_asked_for_is_right():
    assert sample_ious(counts_of((0, 0))) == [1.0]


def test_something_predicted_where_nothing_was_asked_for_is_wrong_and_its_area_enters_the_union():
    counts = counts_of((0, 30), (10, 10))
    assert sample_ious(counts)[0] == 0.0
    assert ciou(counts) == pytest.approx(10 / 40)


def test_the_epsilons_are_the_references():
    counts = counts_of((1, 2), (0, 0))
    assert sample_ious(counts)[0] == pytest.approx(1 / 2.00001, abs=1e-12)
    assert giou(counts) == pytest.approx((1 / 2.00001 + 1) / 2.00001, abs=1e-12)


def test_giou_is_the_mean_over_samples_and_ciou_the_ratio_of_sums():
    counts = counts_of((1, 4), (90, 100), pictures=[0, 0])
    assert giou(counts) == pytest.approx((0.25 + 0.9) / 2, abs=1e-4)
    assert ciou(counts) == pytest.approx(91 / 104)


def test_precision_is_the_share_of_samples_above_the_threshold():
    counts = counts_of((6, 10), (8, 10), (95, 100), (1, 10))
    assert [precision(counts, threshold) for threshold in (0.5, 0.7, 0.9)] == [0.75, 0.5, 0.25]


def test_huge_counts_are_summed_without_loss():
    # 2^31 pixels a sample and their sum do not fit 32-bit integers; float32 sums would lose the 1.
    counts = counts_of((2**31, 2**31), (1, 2**31))
    assert counts.intersection.dtype == np.int64
    assert ciou(counts) == (2**31 + 1) / 2**32


def test_the_summary_of_no_samples_is_zero():
    assert summarise(counts_of()) == {"giou": 0.0, "ciou": 0.0, "p50": 0.0, "p70": 0.0, "p90": 0.0}


def test_lengths_that_disagree_are_refused():
    with pytest.raises(ValueError, match="1 overlaps but 2 picture indices"):
        Counts.of([Overlap(1, 2, 1, 2)], [0, 0])


# --- intervals ------------------------------------------------------------------------------------------


def test_the_interval_of_equal_pictures_is_a_point():
    intervals = confidence_intervals(counts_of((5, 10), (5, 10), (5, 10)), np.random.default_rng(0))
    assert intervals["giou_ci95"] == pytest.approx([0.5, 0.5], abs=1e-5)
    assert intervals["ciou_ci95"] == pytest.approx([0.5, 0.5], abs=1e-5)


def test_pictures_are_resampled_and_not_samples():
    # Two pictures, one all right and one all wrong. A replicate holds 0, 1 or 2 of the right one, with
    # probabilities 1/4, 1/2, 1/4: the interval is [0, 1], however many samples a picture has. Resampling
    # the 400 samples one by one would give about [0.45, 0.55].
    counts = counts_of(*[(10, 10)] * 200, *[(0, 10)] * 200, pictures=[0] * 200 + [1] * 200)
    intervals = confidence_intervals(counts, np.random.default_rng(0))
    assert intervals["giou_ci95"] == pytest.approx([0, 1], abs=1e-4)


def test_a_picture_weighs_as_many_samples_as_it_has():
    # Every replicate that draws both pictures has gIoU 3/4; those that draw one twice have 1 or 0.
    counts = counts_of((10, 10), (10, 10), (10, 10), (0, 10), pictures=[7, 7, 7, 9])
    replicates = [
        confidence_intervals(counts, np.random.default_rng(seed), replicates=1)["giou_ci95"][0] for seed in range(50)
    ]
    assert {round(value, 3) for value in replicates} == {0.0, 0.75, 1.0}


def test_the_interval_agrees_with_the_normal_approximation_on_many_pictures():
    ious = np.random.default_rng(1).uniform(size=2000)
    counts = counts_of(*[(int(1000 * iou), 1000) for iou in ious])
    low, high = confidence_intervals(counts, np.random.default_rng(0))["giou_ci95"]
    half_width = 1.96 * ious.std() / np.sqrt(len(ious))
    assert low == pytest.approx(giou(counts) - half_width, abs=0.002)
    assert high == pytest.approx(giou(counts) + half_width, abs=0.002)


def test_the_interval_is_a_function_of_the_seed():
    counts = counts_of(*[(i, 10) for i in range(10)])
    first, again, other = (confidence_intervals(counts, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        confidence_intervals(counts_of(), np.random.default_rng(0))


# --- the official code's numbers ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    return json.loads((GOLDENS / "metrics.json").read_text()), load_file(GOLDENS / "metrics.safetensors")


def test_each_pair_agrees_with_the_official_counts_for_both_classes(golden):
    expected, tensors = golden
    for pair in expected["pairs"]:
        prediction = tensors[f"pred_{pair['pair']}"] == 1
        target, ignore = tensors[f"gt_{pair['pair']}"] == 1, tensors[f"gt_{pair['pair']}"] == 255
        background = mask_overlap(~prediction, ~target, ignore)
        foreground = mask_overlap(prediction, target, ignore)
        assert [background.intersection, foreground.intersection] == pair["intersection"]
        assert [background.union, foreground.union] == pair["union"]
        ious = sample_ious(Counts.of([background, foreground], [0, 0]))
        assert ious == pytest.approx(pair["acc_iou"], abs=1e-6)


def test_giou_and_ciou_agree_with_the_official_validation(golden):
    expected, tensors = golden
    overlaps, pictures = [], []
    for pair in expected["pairs"]:
        target = tensors[f"gt_{pair['pair']}"]
        overlaps.append(mask_overlap(tensors[f"pred_{pair['pair']}"] == 1, target == 1, target == 255))
        pictures.append(pair["image"])
    counts = Counts.of(overlaps, pictures)
    assert len(overlaps) == 20
    assert giou(counts) == pytest.approx(0.443507, abs=1e-6)
    assert ciou(counts) == pytest.approx(0.431473, abs=1e-6)


def test_no_target_accuracy_is_that_of_gres():
    def overlap(predicted: int, wanted: int) -> Overlap:
        return Overlap(min(predicted, wanted), max(predicted, wanted), predicted, wanted)

    # Without target: nothing, 49 pixels, 50 pixels. With one: nothing, 49 pixels, 60 pixels, 70 pixels.
    overlaps = [overlap(0, 0), overlap(49, 0), overlap(50, 0)]
    overlaps += [overlap(0, 80), overlap(49, 80), overlap(60, 80), overlap(70, 80)]
    scores = no_target_accuracy(Counts.of(overlaps, list(range(7))))
    assert scores == {"samples": 3, "n_acc": 1 / 3, "t_acc": 3 / 4, "n_acc_50px": 2 / 3, "t_acc_50px": 2 / 4}


def test_no_target_accuracy_is_unknown_where_every_question_has_a_target():
    assert no_target_accuracy(Counts.of([Overlap(1, 2, 1, 2)], [0])) is None
