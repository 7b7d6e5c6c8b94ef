"""Whatever stands in the annotation files, the doctor ends with a verdict, and expected it."""

from __future__ import annotations

import copy
import json
import math
import pickle
import random
from typing import Any

import pytest

FILES = {
    "mapillary/config_v2.0.json": "mapillary",
    "vlpart/paco/annotations/paco_lvis_v1_train.json": "paco_lvis",
    "vlpart/pascal_part/train.json": "pascal_part",
    "refer_seg/refclef/instances.json": "refclef",
    "refer_seg/refcoco/refs(unc).p": "refcoco",
    "refer_seg/grefcoco/grefs(unc).json": "grefcoco",
    "llava_dataset/llava_instruct_150k.json": "llava_instruct_150k",
    "reason_seg/ReasonSeg/train/1001_aaa_o.json": "ReasonSeg",
    "reason_seg/ReasonSeg/explanatory/train.json": "ReasonSeg",
}
VALUES = [
    None, True, -1, 0, 10**30, 1.5, math.nan, math.inf, "", "x", "\ud800\x1b[2J", "../../x", "a\0b", "a" * 9999, [],
    [[]], {}, {"a": 1}, [None], [1e9] * 6, [[0, 0, 1]], {"size": [1, 1], "counts": "x"}, {"size": 5, "counts": None},
]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_every_input_ends_in_a_verdict(tree, diagnose, file):
    path = tree / file
    healthy = pickle.loads(path.read_bytes()) if path.suffix == ".p" else json.loads(path.read_bytes())
    for seed in range(12):
        content = spoiled(healthy, random.Random(f"{file} {seed}"))
        path.write_bytes(pickle.dumps(content) if path.suffix == ".p" else json.dumps(content).encode())
        verdict = diagnose(tree.root, "--data", FILES[file])
        assert verdict.code == bool(verdict.problems)
        assert not [p for p in verdict.problems if p["kind"] in ("unexpected", "dataset")], (seed, verdict.problems)


def spoiled(content: Any, rng: random.Random) -> Any:
    """A copy with one to three values replaced or deleted, anywhere."""
    content = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        holder, key = rng.choice(list(places(content)) or [([None], 0)])
        if rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return content


def places(content: Any):
    """Every (container, key) in it."""
    keys = content.keys() if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in list(keys):
        yield content, key
        yield from places(content[key])
