"""What other libraries raise about a file, as a sentence; light to import."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 300


@contextmanager
def refused(what: str, mend: str = "") -> Iterator[None]:
    """Turns whatever is raised inside, of whichever kind, into a ValueError that says `what`, why, and the mend."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what} ({reason(error)}){f'; {mend}' if mend else ''}") from error


def reason(error: Exception) -> str:
    """The line of an error that tells: the first, or the last where the others lead to it, as in transformers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    told = re.sub(r"^(Value|Type)Error: ", "", lines[-1]) if lines[0].endswith(":") else lines[0]
    named = isinstance(error, KeyError | IndexError | AttributeError | ZeroDivisionError | TypeError)
    told = f"{type(error).__name__}: {told}" if named and told == lines[0] else told
    return told if len(told) <= LONGEST else f"{told[: LONGEST - 3]}..."
