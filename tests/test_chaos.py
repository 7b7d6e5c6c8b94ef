"""A shortened tests/chaos.py: kills, damage and a full disk lose nothing; `python tests/chaos.py` does all of it."""

from __future__ import annotations

from tests.chaos import Chaos, damage, full_disk, kills, nan_gradient, stopped_run


def test_whatever_ends_or_damages_a_run_it_comes_to_the_unbroken_weights(tmp_path):
    chaos = Chaos(tmp_path, ranks=2, seed=0)
    assert kills(chaos, 3).total() == 3
    stopped = stopped_run(chaos)
    for kind in ("flipped bytes", "stray entries", "damaged metrics.jsonl"):
        damage(chaos, stopped, kind)
    full_disk(chaos, stopped)
    nan_gradient(chaos)
    assert chaos.problems == []
