"""Packages that only some things need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class MissingPackageError(ImportError):
    """A package that is not installed, and how to install it."""


def require(package: str, what: str, install: str) -> ModuleType:
    """The imported package; MissingPackageError says that `what` needs it, and what to `pip install`."""
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackageError(f"{what} needs {package} ({error}): pip install '{install}'") from error
