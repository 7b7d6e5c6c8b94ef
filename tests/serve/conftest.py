from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example.jpg"


@pytest.fixture(scope="session")
def predictor():
    """The kept model."""
    from lisa import load

    return load("tiny", device="cpu")


@pytest.fixture(scope="session")
def example() -> bytes:
    """A picture with boats."""
    return EXAMPLE.read_bytes()


@pytest.fixture
def serve(predictor):
    """Starts a server with limits of its own: limits -> (client, host)."""
    from fastapi.testclient import TestClient

    from lisa.serve import Host, Limits, build_app

    hosts = []

    def start(**limits):
        host = Host(predictor, Limits(**limits))
        hosts.append(host)
        return TestClient(build_app(host), raise_server_exceptions=False), host

    yield start
    for host in hosts:
        host.close()


@pytest.fixture(scope="module")
def client(predictor):
    """A server with the limits of every day."""
    from fastapi.testclient import TestClient

    from lisa.serve import Host, build_app

    host = Host(predictor)
    yield TestClient(build_app(host), raise_server_exceptions=False)
    host.close()
