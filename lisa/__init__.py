"""LISA: reasoning segmentation. Ask a picture a question, get words with a mask for everything they point at.

The names below are imported when they are first used, so that light modules stay light to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lisa.api import Lisa as Lisa
    from lisa.checkpoint import load as load
    from lisa.config import LisaConfig as LisaConfig
    from lisa.generation import Predictor as Predictor
    from lisa.modeling import LisaModel as LisaModel
    from lisa.processing import LisaProcessor as LisaProcessor
    from lisa.results import Answer as Answer
    from lisa.results import Scores as Scores
    from lisa.session import ChatSession as ChatSession

_HOMES = {
    "Answer": "lisa.results",
    "ChatSession": "lisa.session",
    "Lisa": "lisa.api",
    "LisaModel": "lisa.modeling",
    "LisaConfig": "lisa.config",
    "LisaProcessor": "lisa.processing",
    "Predictor": "lisa.generation",
    "Scores": "lisa.results",
    "load": "lisa.checkpoint",
}

__all__ = [
    "Answer",
    "ChatSession",
    "Lisa",
    "LisaConfig",
    "LisaModel",
    "LisaProcessor",
    "Predictor",
    "Scores",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lisa' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
