"""A small synthetic world that tests share."""

import pytest


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Forty rendered scenes, in the official formats."""
    from datasets.synthetic import render_world

    return render_world(tmp_path_factory.mktemp("data") / "world", images=40, seed=3, workers=2)
