"""Pictures to try: drawn scenes, which the model that comes with the library knows."""

from __future__ import annotations

from importlib.resources import files

from lisa.serve.limits import RefusedError

EXAMPLES = ("harbour.jpg", "meadow.jpg", "street.jpg", "shore.jpg", "field.jpg")
"""Files of the folder `examples`; nothing else can be asked for."""


def read_example(name: str) -> bytes:
    """The file of an example; RefusedError 404 where there is none of that name."""
    if name not in EXAMPLES:
        raise RefusedError(404, f"there is no such example; choose one of {', '.join(EXAMPLES)}")
    return (files("lisa.serve") / "examples" / name).read_bytes()
