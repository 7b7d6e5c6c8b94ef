"""Pickles from elsewhere, read such that they can hold plain data only."""

from __future__ import annotations

import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

# What pickle raises, as found by feeding it damaged files.
_BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    MemoryError,
)


def read_plain_pickle(path: Path) -> Any:
    """Lists, dicts, text, numbers and None from a pickle of any protocol; ValueError for whatever else."""
    data = path.read_bytes()
    try:
        return _load(data)
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from error
    except _BROKEN as error:
        raise ValueError(f"{path}: not a readable pickle ({error}); restore it from its source") from error


def _load(data: bytes) -> Any:
    """Python 2 wrote its text as bytes of no stated encoding."""
    try:
        return _PlainData(BytesIO(data), encoding="utf-8").load()
    except UnicodeDecodeError:
        return _PlainData(BytesIO(data), encoding="latin-1").load()


class _Refused(pickle.UnpicklingError):
    """The pickle asks for something that could run code."""


class _PlainData(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise _Refused(
            f"refused, because the pickle asks for {module}.{name}, which could run code; "
            "plain data needs lists, dicts, text and numbers only. Fetch it again from a source you trust"
        )
