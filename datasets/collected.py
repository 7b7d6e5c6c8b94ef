"""All problems of a source, told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MOST_TOLD = 50
"""Problems that are told one by one; the others are counted."""


class Collected:
    """Keeps the errors that a user can mend, until everything was looked at."""

    def __init__(self) -> None:
        self._errors: list[ValueError | OSError] = []
        self._count = 0

    @contextmanager
    def guard(self, where: str = "") -> Iterator[None]:
        """An error of the block is kept, and what follows it there is left out; `where` names file and record."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.add(named(error, where))

    def add(self, error: ValueError | OSError) -> None:
        """Keep an error."""
        self._count += 1
        if self._count <= MOST_TOLD:
            self._errors.append(error)

    def refuse(self, source: object) -> None:
        """Raise what was kept: one error as it is, several as one ValueError about `source`; nothing where all is well.

        Where nothing but missing files were found it is a FileNotFoundError.
        """
        if self._count == 0:
            return
        if self._count == 1:
            raise self._errors[0]
        lines = [f"{source}: {self._count} problems", *map(str, self._errors)]
        if more := self._count - len(self._errors):
            lines.append(f"... and {more} more")
        missing = all(isinstance(error, FileNotFoundError) for error in self._errors)
        raise (FileNotFoundError if missing else ValueError)("\n".join(lines))


def named(error: ValueError | OSError, where: str) -> ValueError | OSError:
    """The error as one that begins with `where`."""
    if str(error).startswith(where):
        return error
    kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
    named = kind(f"{where}: {error}")
    named.__cause__ = error
    return named


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Errors of the block that the user can mend begin with `where`, which names file and record."""
    try:
        yield
    except (ValueError, OSError) as error:
        if (better := named(error, where)) is error:
            raise
        raise better from error
