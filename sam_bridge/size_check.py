"""Whether the fields of a SAM's size can be; light to import."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any


def build_size(kind: type, given: dict[str, Any]) -> Any:
    """A size from JSON; ValueError tells every field that is missing, unknown or of the wrong type."""
    known = {field.name: field for field in fields(kind)}
    problems = [f"it lacks {name}" for name, field in known.items() if name not in given and _is_required(field)]
    problems += [f"it has no field {name}" for name in given if name not in known]
    problems += [
        f"{name} is {value!r}; it must be {_KINDS[known[name].type][1]}"
        for name, value in given.items()
        if name in known and not _KINDS[known[name].type][0](value)
    ]
    if problems:
        raise ValueError(f"the size of the SAM cannot be read: {'; '.join(problems)}")
    return kind(**given)


def _is_required(field: Field) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _are_counts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_count, value))


_LARGEST = 65536
"""No size of a SAM comes near it; what is above it is no size, and would only fill memory."""
# By the annotation of a field: what it allows, and how that is called.
_KINDS = {
    "int": (_is_count, f"a whole number from 0 to {_LARGEST}"),
    "float": (lambda value: isinstance(value, int | float) and 0 < value <= _LARGEST, "a number above 0"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "tuple[int, ...]": (_are_counts, "a list of whole numbers"),
    "tuple[int, int]": (lambda value: _are_counts(value) and len(value) == 2, "a list of two whole numbers"),
}


def require_positive(size: Any, *, but: tuple[str, ...]) -> None:
    """ValueError names the whole numbers of a size that are not 1 or more."""
    zero = [
        f"{field.name} is {getattr(size, field.name)}"
        for field in fields(size)
        if field.type == "int" and field.name not in but and getattr(size, field.name) < 1
    ]
    if zero:
        raise ValueError(f"the size of the SAM cannot be: {', '.join(zero)}, and must be 1 or more")
