from types import SimpleNamespace

import numpy as np
import pytest
from toy_data import HEIGHT, WIDTH, ScriptedPredictor, ToyValidationSet, make_sample, strip_mask


@pytest.fixture
def toy():
    """Three pictures, five questions, and a predictor that is right, half right, silent, right and wrong."""
    samples = [
        make_sample(
            1,
            {"car": strip_mask(0, 4), "tree": strip_mask(4, 8)},
            types=("class", "relation"),
            things=np.stack([strip_mask(0, 4), strip_mask(4, 8), strip_mask(8, 9)]),
        ),
        make_sample(
            2,
            {"boat": strip_mask(0, 5), "fish": strip_mask(0, 0)},
            types=("class", "absent"),
            things=np.stack([strip_mask(0, 5)]),
        ),
        make_sample(3, {"lamp": strip_mask(0, 5)}, types=("class",), things=np.zeros((0, HEIGHT, WIDTH), bool)),
    ]
    answers = {
        (1, "car"): [strip_mask(0, 4)],  # right: 8 of 8 pixels
        (1, "tree"): [strip_mask(4, 5), strip_mask(5, 6)],  # two masks, together half: 4 of 8
        (2, "boat"): [],  # no mask: 0 of 10
        (2, "fish"): [strip_mask(0, 0)],  # an empty mask where nothing is: right
        (3, "lamp"): [strip_mask(5, 10)],  # wrong: 0 of 20
    }
    return SimpleNamespace(
        validation_set=ToyValidationSet(samples, train=[strip_mask(0, 5)]),
        predictor=ScriptedPredictor(answers),
    )
