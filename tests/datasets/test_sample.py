"""The record of a sample refuses what does not fit together."""

from pathlib import Path

import numpy as np
import pytest

from datasets.sample import Sample, SampleOptions
from lisa.conversation import Conversation


def sample(**changes) -> Sample:
    fields = {
        "data": "toy",
        "image_id": "a",
        "image_path": Path("a.jpg"),
        "image": np.zeros((4, 5, 3), np.uint8),
        "conversations": (Conversation.of("Where?", "[SEG] and [SEG]."), Conversation.of("Why?", "So.")),
        "masks": np.zeros((2, 4, 5), bool),
        "ignore": np.zeros((4, 5), bool),
        "names": ("", ""),
        "types": ("", ""),
    }
    return Sample(**(fields | changes))


def test_a_sample_that_fits_together_is_made():
    assert sample(things=np.zeros((0, 4, 5), bool)).masks.shape == (2, 4, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": np.zeros((1, 4, 5), bool)}, r"2 \[SEG\], 1 masks and 2 names"),
        ({"names": ("",)}, r"2 \[SEG\], 2 masks and 1 names"),
        ({"types": ("",)}, "1 types for 2 conversations"),
        (
            {"masks": np.zeros((2, 5, 4), bool)},
            r"masks: bool of shape \(2, 5, 4\), but the picture is \(4, 5\)",
        ),
        ({"masks": np.zeros((2, 4, 5), np.uint8)}, "masks: uint8"),
        ({"ignore": np.zeros((4, 4), bool)}, "ignore: bool"),
        ({"things": np.zeros((4, 5), bool)}, "things: bool"),
        ({"image": np.zeros((4, 5), np.uint8)}, "the image is uint8"),
        ({"image": np.zeros((4, 5, 3), np.float32)}, "the image is float32"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_picture(changes, message):
    with pytest.raises(ValueError, match=rf"a\.jpg \(toy\): {message}"):
        sample(**changes)


@pytest.mark.parametrize(
    "options",
    [{"num_classes_per_sample": 0}, {"explanatory": 1.5}, {"explanatory": -0.5}, {"name_targets": -0.1}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SampleOptions(**options)
