"""One small world for all tests of this folder, and its pictures as records."""

import json
from pathlib import Path

import pytest

from datasets.synthetic import render_world
from datasets.synthetic.writers.material import Material, make_material

IMAGES, SEED = 40, 3


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    return render_world(tmp_path_factory.mktemp("synthetic") / "world", images=IMAGES, seed=SEED, workers=2)


@pytest.fixture(scope="session")
def record(world) -> dict:
    return json.loads((world / "world.json").read_text())


@pytest.fixture(scope="session")
def materials() -> list[Material]:
    """More pictures than the world has files for; the first ones are the same."""
    return [make_material(SEED, index) for index in range(160)]
