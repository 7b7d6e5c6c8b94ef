"""LISA: reasoning segmentation. Ask a picture a question, get words with a mask for everything they point at.

The names below are imported when they are first used, so that light modules stay light to import.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Answer": "lisa.results",
    "ChatSession": "lisa.session",
    "LisaModel": "lisa.modeling",
    "LisaConfig": "lisa.config",
    "LisaProcessor": "lisa.processing",
    "Predictor": "lisa.generation",
    "load": "lisa.checkpoint",
}

__all__ = ["Answer", "ChatSession", "LisaConfig", "LisaModel", "LisaProcessor", "Predictor", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lisa' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
