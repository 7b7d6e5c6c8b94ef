"""What tests share: a small synthetic world, a reference checkpoint, the kept model."""

import os
import tarfile
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # each process has a core of its own


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        default="cuda",
        help="device of the tests marked gpu (-m gpu); cpu tries the tests themselves, where there is no GPU",
    )


@pytest.fixture(scope="session")
def device(request):
    """The device that tests marked gpu compare with the CPU; fp32 products are exact on it."""
    import torch

    device = torch.device(request.config.getoption("--device"))
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.fail("this test needs a CUDA device; leave out `-m gpu`, or try the test itself with --device cpu")
    torch.backends.cudnn.allow_tf32 = False
    return device


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Forty rendered scenes, in the official formats."""
    from datasets.synthetic import render_world

    return render_world(tmp_path_factory.mktemp("data") / "world", images=40, seed=3, workers=2)


@pytest.fixture(scope="session")
def lisa_a(tmp_path_factory):
    """A tiny LISA in the released format with inputs and outputs of the official code (the reference's, at 4.31)."""
    folder = tmp_path_factory.mktemp("reference")
    with tarfile.open(Path(__file__).parent / "goldens" / "lisa_A.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "lisa_A"


@pytest.fixture(scope="session")
def example():
    """The picture of the README."""
    return Path(__file__).resolve().parents[1] / "docs" / "example.jpg"


@pytest.fixture(scope="session")
def kept_lisa():
    """The kept model; whoever changes it changes it back."""
    from lisa import Lisa

    return Lisa.load("tiny", device="cpu")
