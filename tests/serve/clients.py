"""How tests call the application."""

from __future__ import annotations


def client_of(app):
    """A client that calls an application by the name that a browser on this machine uses."""
    from fastapi.testclient import TestClient

    return TestClient(app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False)
