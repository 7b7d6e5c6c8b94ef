"""The training mixture."""

import ast
import hashlib
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datasets.mixture import Mixture, MixtureOptions, open_mixture
from datasets.sample import Sample

CHECKOUT = Path(__file__).parents[2]


def fingerprint(sample: Sample) -> str:
    """Everything in a sample, as a hash."""
    parts = (sample.data, sample.image_id, sample.conversations, sample.names, sample.types)
    arrays = (sample.image, sample.masks, sample.ignore)
    return hashlib.sha256(repr(parts).encode() + b"".join(a.tobytes() for a in arrays)).hexdigest()


def fingerprints(dataset_dir: str, order: list[tuple[int, int]]) -> dict[tuple[int, int], str]:
    mixture = open_mixture(Path(dataset_dir), MixtureOptions(name_targets=0.5), seed=3)
    return {place: fingerprint(mixture.sample(*place)) for place in order}


def test_an_item_is_the_same_in_another_process_and_another_order(minidata):
    places = [(epoch, index) for epoch in range(2) for index in range(40)]
    ours = fingerprints(str(minidata), places)
    code = f"import test_mixture as t; print(t.fingerprints({str(minidata)!r}, {places[::-1]!r}))"
    path = {"PYTHONPATH": f"{CHECKOUT}:{Path(__file__).parent}", "PYTHONHASHSEED": "77"}
    run = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=True)
    assert ast.literal_eval(run.stdout) == ours
    assert len(set(ours.values())) > 30


def test_seed_and_epoch_change_the_items(minidata):
    options = MixtureOptions()
    first, second = (open_mixture(minidata, options, seed) for seed in (0, 1))
    items = [[fingerprint(m.sample(e, i)) for i in range(20)] for m, e in ((first, 0), (first, 1), (second, 0))]
    assert items[0] != items[1] != items[2] != items[0]


class Named:
    """A dataset whose samples are its name and the index."""

    def __init__(self, data: str, size: int) -> None:
        self.data = data
        self.size = size

    def __len__(self) -> int:
        return self.size

    def sample(self, index, rng):
        return self.data, index


def test_families_are_drawn_by_rate_and_their_datasets_and_items_uniformly():
    families = [[Named("a", 2), Named("b", 100)], [Named("c", 1)]]
    mixture = Mixture(families, [0.75, 0.25], seed=0)
    drawn = Counter(mixture.sample(0, index) for index in range(20_000))
    share = {data: sum(n for (d, _), n in drawn.items() if d == data) / 20_000 for data in "abc"}
    assert share == pytest.approx({"a": 0.375, "b": 0.375, "c": 0.25}, abs=0.02)
    assert drawn["a", 0] == pytest.approx(drawn["a", 1], rel=0.1)


def test_the_default_rates_are_the_reference_s():
    assert MixtureOptions().rates() == {
        "sem_seg": 9 / 16,
        "refer_seg": 3 / 16,
        "vqa": 3 / 16,
        "reason_seg": 1 / 16,
    }


def test_every_family_is_drawn_and_none_of_its_samples_fails(minidata):
    mixture = open_mixture(minidata, MixtureOptions(name_targets=0.5, num_classes_per_sample=8), seed=0)
    drawn = Counter(mixture.sample(0, index).data for index in range(300))
    semantic = {"ade20k", "cocostuff", "mapillary", "paco_lvis", "pascal_part"}
    referring = {"refclef|unc|train", "refcoco|unc|train", "refcoco+|unc|train", "refcocog|umd|train"}
    assert set(drawn) == {*semantic, *referring, "llava_instruct_150k", "ReasonSeg|train"}


def test_a_family_of_rate_zero_needs_no_files(refcoco):
    options = MixtureOptions(dataset="refer_seg||vqa", sample_rates="1,0", refer_seg_data="refcoco")
    assert open_mixture(refcoco.root, options, seed=0).sample(0, 0).data == "refcoco|unc|train"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rates": "1,2"}, "2 sample_rates for 4 families"),
        ({"sample_rates": "1,2,x,4"}, "sample_rates is '1,2,x,4', but must be like"),
        ({"sample_rates": "1,-2,3,4"}, "must not be negative"),
        ({"sample_rates": "0,0,0,0"}, "not all zero"),
        ({"sample_rates": "nan,1,1,1"}, "must not be negative"),
        ({"dataset": "semseg", "sample_rates": "1"}, "'semseg'; known: sem_seg, refer_seg"),
        ({"dataset": "vqa||vqa", "sample_rates": "1,1"}, "named twice"),
    ],
)
def test_options_that_contradict_are_refused_at_the_start(options, message):
    with pytest.raises(ValueError, match=message):
        MixtureOptions(**options)


def test_a_negative_seed_is_refused(minidata):
    with pytest.raises(ValueError, match="the seed is -1"):
        open_mixture(minidata, MixtureOptions(), seed=-1)


def test_what_is_missing_is_refused_when_the_mixture_is_opened(refcoco):
    with pytest.raises(FileNotFoundError, match="ade20k/images/training: not found"):
        open_mixture(refcoco.root, MixtureOptions(), seed=0)


def test_one_core_makes_a_sample_of_320_px_with_eight_sentences_in_ten_milliseconds(refcoco, save_picture):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8).repeat(10, axis=0).repeat(10, axis=1)
    save_picture(refcoco.image, noise)
    angles = np.linspace(0, 6.2, 40)
    refcoco.picture |= {"height": 240, "width": 320}
    refcoco.annotations.clear()
    refcoco.refs = []
    for number in range(8):
        outline = np.stack([160 + (60 + 9 * number) * np.cos(angles), 120 + 100 * np.sin(angles)], axis=1)
        refcoco.annotations.append(refcoco.annotation | {"id": number, "segmentation": [outline.ravel().tolist()]})
        refcoco.refs.append(refcoco.ref | {"ann_id": number, "sentences": [{"sent": f"ring {number}"}]})
    refcoco.write()
    only_refcoco = {"dataset": "refer_seg", "sample_rates": "1", "refer_seg_data": "refcoco"}
    options = MixtureOptions(**only_refcoco, num_classes_per_sample=8)
    mixture = open_mixture(refcoco.root, options, seed=0)
    assert len(mixture.sample(0, 0).masks) == 8
    times = [seconds(lambda i=i: mixture.sample(0, i)) for i in range(20)]
    assert min(times) < 0.010


def seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
