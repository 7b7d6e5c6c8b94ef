"""A model in the browser and behind a JSON API; needs the extra `demo`.

The names below are imported when they are first used, so that `lisa serve --help` is quick.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "InferenceService": "lisa.serve.service",
    "Limits": "lisa.serve.limits",
    "ServeArgs": "lisa.serve.server",
    "build_app": "lisa.serve.server",
    "serve": "lisa.serve.server",
}

__all__ = ["InferenceService", "Limits", "ServeArgs", "build_app", "serve"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lisa.serve' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
