"""Where the models are that come with the library."""

from __future__ import annotations

from pathlib import Path


def _kept_models() -> Path:
    """lisa/models in an installed wheel, models beside lisa in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


KEPT_MODELS = _kept_models()
"""A folder for each model."""
