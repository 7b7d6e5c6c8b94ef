"""Counts of pixels -> gIoU, cIoU, precision, and their bootstrap intervals.

The definitions are LISA's (`train_ds.py: validate`), epsilons included, with the counts kept in integers:
a sample is one (picture, question) pair, ignored pixels leave every count, and a sample that has neither
target nor prediction is right (IoU 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IOU_EPSILON = 1e-5
GIOU_EPSILON = 1e-5
CIOU_EPSILON = 1e-10

PRECISION_THRESHOLDS = {"p50": 0.5, "p70": 0.7, "p90": 0.9}
PIXELS = ("intersection", "union", "predicted", "wanted")
"""What is counted of each sample."""
REJECTED_BELOW = {"n_acc": 1, "n_acc_50px": 50}
"""A prediction of fewer pixels says that there is no target; 50 is the rule of GRES' own evaluation."""
BOOTSTRAP_REPLICATES = 1000
BOOTSTRAP_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Overlap:
    """Pixels that a prediction and its target share, and pixels that either covers."""

    intersection: int
    union: int
    predicted: int
    """Pixels of the prediction."""
    wanted: int
    """Pixels of the target."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The overlap of each of S samples; int64 arrays (S,)."""

    intersection: np.ndarray
    union: np.ndarray
    predicted: np.ndarray
    wanted: np.ndarray
    picture: np.ndarray  # index of the sample's picture, 0 or greater; pictures are what is resampled

    @staticmethod
    def of(overlaps: list[Overlap], pictures: list[int]) -> Counts:
        """One overlap and one picture index per sample; both lists may be empty."""
        if len(overlaps) != len(pictures):
            raise ValueError(f"{len(overlaps)} overlaps but {len(pictures)} picture indices")
        columns = {name: [getattr(overlap, name) for overlap in overlaps] for name in PIXELS}
        arrays = {name: np.array(values, dtype=np.int64) for name, values in columns.items()}
        return Counts(**arrays, picture=np.array(pictures, dtype=np.int64))

    def where(self, chosen: np.ndarray) -> Counts:
        """The samples for which `chosen`, (S,) bool, is true."""
        return Counts(**{name: getattr(self, name)[chosen] for name in (*PIXELS, "picture")})


def mask_overlap(prediction: np.ndarray, target: np.ndarray, ignore: np.ndarray) -> Overlap:
    """Overlap of two (H, W) bool masks; pixels where `ignore` (H, W) is true count for neither."""
    if not prediction.shape == target.shape == ignore.shape:
        raise ValueError(
            f"prediction {prediction.shape}, target {target.shape} and ignore {ignore.shape} differ in size"
        )
    counted = ~ignore
    return Overlap(
        intersection=int(np.count_nonzero(prediction & target & counted)),
        union=int(np.count_nonzero((prediction | target) & counted)),
        predicted=int(np.count_nonzero(prediction & counted)),
        wanted=int(np.count_nonzero(target & counted)),
    )


def sample_ious(counts: Counts) -> np.ndarray:
    """IoU of each sample, (S,) float64: I / (U + 1e-5), and 1 where there is no target and no prediction."""
    ious = counts.intersection / (counts.union + IOU_EPSILON)
    ious[counts.union == 0] += 1.0
    return ious


def giou(counts: Counts) -> float:
    """Mean of the samples' IoU; 0 without samples."""
    return float(sample_ious(counts).sum() / (len(counts.union) + GIOU_EPSILON))


def ciou(counts: Counts) -> float:
    """Summed intersection over summed union; 0 where nothing was asked for and nothing predicted."""
    return float(counts.intersection.sum() / (counts.union.sum() + CIOU_EPSILON))


def precision(counts: Counts, threshold: float) -> float:
    """Share of the samples with an IoU above `threshold`; 0 without samples."""
    ious = sample_ious(counts)
    return float(np.mean(ious > threshold)) if len(ious) else 0.0


def summarise(counts: Counts) -> dict[str, float]:
    """gIoU, cIoU and the three precisions, under the names of the report."""
    precisions = {name: precision(counts, threshold) for name, threshold in PRECISION_THRESHOLDS.items()}
    return {"giou": giou(counts), "ciou": ciou(counts), **precisions}


def no_target_accuracy(counts: Counts) -> dict[str, float] | None:
    """Whether the model says so when the picture holds no such thing; None where the data always has a target.

    N-acc: share of the samples without target whose prediction is empty; T-acc: share of those with a target whose
    prediction is not (Liu et al., GRES, 2023). Each also with predictions of fewer than 50 pixels taken as empty.
    """
    without = counts.wanted == 0
    if not without.any():
        return None
    scores: dict[str, float] = {"samples": int(without.sum())}
    for name, least in REJECTED_BELOW.items():
        rejected = counts.predicted < least
        scores[name] = float(rejected[without].mean())
        scores[name.replace("n_acc", "t_acc")] = float((~rejected[~without]).mean()) if (~without).any() else 0.0
    return scores


def confidence_intervals(
    counts: Counts, rng: np.random.Generator, replicates: int = BOOTSTRAP_REPLICATES
) -> dict[str, list[float]]:
    """95 % percentile bootstrap intervals [low, high] of gIoU and cIoU.

    Whole pictures are drawn with replacement, because the samples of one picture are not independent.
    """
    totals = _picture_totals(counts)
    num_pictures = len(totals)
    if num_pictures == 0:
        raise ValueError("no samples: an interval needs at least one picture")
    # How often each picture is drawn in each replicate: (R, P).
    draws = rng.multinomial(num_pictures, np.full(num_pictures, 1 / num_pictures), size=replicates)
    iou_sum, samples, intersection, union = (draws @ totals).T
    return {
        "giou_ci95": _interval(iou_sum / (samples + GIOU_EPSILON)),
        "ciou_ci95": _interval(intersection / (union + CIOU_EPSILON)),
    }


def _picture_totals(counts: Counts) -> np.ndarray:
    """Per picture that has samples: summed IoU, samples, intersection, union; (P, 4) float64."""
    _, picture = np.unique(counts.picture, return_inverse=True)
    columns = [sample_ious(counts), np.ones(len(picture)), counts.intersection, counts.union]
    return np.stack([np.bincount(picture, weights=column) for column in columns], axis=1)


def _interval(values: np.ndarray) -> list[float]:
    return [float(value) for value in np.percentile(values, BOOTSTRAP_PERCENTILES)]
