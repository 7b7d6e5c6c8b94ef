from pathlib import Path

import pytest
import torch
from clients import client_of

torch.set_num_threads(1)

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example.jpg"


@pytest.fixture(scope="session")
def predictor():
    """The kept model."""
    from lisa import load

    return load("tiny", device="cpu")


@pytest.fixture(scope="session")
def example() -> bytes:
    """An image with boats."""
    return EXAMPLE.read_bytes()


@pytest.fixture
def serve(predictor):
    """Starts a server with limits and flags of its own: limits -> (client, service)."""
    from lisa.serve import InferenceService, Limits, ServeArgs, build_app

    services = []

    def start(args=None, **limits):
        service = InferenceService(predictor, Limits(**limits))
        services.append(service)
        return client_of(build_app(service, args or ServeArgs())), service

    yield start
    for service in services:
        service.close()


@pytest.fixture(scope="module")
def client(predictor):
    """A server with the limits of every day."""
    from lisa.serve import InferenceService, build_app

    service = InferenceService(predictor)
    yield client_of(build_app(service))
    service.close()
