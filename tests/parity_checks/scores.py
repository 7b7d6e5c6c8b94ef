"""Counts of pixels and the metrics made of them."""

from __future__ import annotations

import numpy as np

from eval.metrics import Counts, Overlap, ciou, giou, mask_overlap, sample_ious
from parity_checks.report import Golden, Report

TOLERANCE = 1e-6
IGNORE = 255


def check_scores(report: Report, golden: Golden) -> None:
    """metrics.json: each pair's pixels and IoU of background and target, then gIoU and cIoU of images and of all."""
    name = golden.name
    overlaps: list[Overlap] = []
    pictures: list[int] = []
    for pair in golden.fact("pairs"):
        index = pair["pair"]
        prediction = golden.tensor(f"pred_{index}").numpy() > 0
        given = golden.tensor(f"gt_{index}").numpy()
        target, ignore = given == 1, given == IGNORE
        both = [mask_overlap(~prediction, ~target & ~ignore, ignore), mask_overlap(prediction, target, ignore)]
        ours = {
            "intersection": [float(overlap.intersection) for overlap in both],
            "union": [float(overlap.union) for overlap in both],
            "target": [float((~target & ~ignore).sum()), float(target.sum())],
        }
        for key, value in ours.items():
            report.equal(name, f"pair {index} {key}", value, pair[key])
        for k, iou in enumerate(sample_ious(Counts.of(both, [0, 0]))):
            report.absolute(name, f"pair {index} acc_iou {k}", float(iou), pair["acc_iou"][k], TOLERANCE)
        for key in sorted(pair.keys() - {*ours, "pair", "image", "acc_iou"}):
            report.fail(name, f"pair {index} {key}", "unknown to this script, and so not compared")
        overlaps.append(both[1])
        pictures.append(pair["image"])
    counts = Counts.of(overlaps, pictures)
    report.equal(name, "groups", np.bincount(pictures).tolist(), golden.fact("groups"))
    _check_summary(report, name, "validate_all", counts, golden.fact("validate_all"))
    for picture, wanted in golden.fact("validate_single_image").items():
        chosen = counts.where(counts.picture == int(picture))
        _check_summary(report, name, f"validate_single_image {picture}", chosen, wanted)
    golden.list_facts(report, ("kind", "note"), "a description")
    golden.close(report)


def _check_summary(report: Report, name: str, label: str, counts: Counts, wanted: dict[str, float]) -> None:
    ours = {"giou": giou(counts), "ciou": ciou(counts)}
    for key in sorted(wanted.keys() | ours.keys()):
        if key not in wanted or key not in ours:
            report.fail(name, f"{label} {key}", "is known to one side only")
        else:
            report.absolute(name, f"{label} {key}", ours[key], wanted[key], TOLERANCE)
