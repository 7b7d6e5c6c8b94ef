"""What is wrong with a dataset: records, and how errors become records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

RESTORE = "restore it from its source, correct it or remove it"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong, or (not `serious`) that a user should know."""

    kind: str  # a word or two; problems of a kind are reported together
    dataset: str
    file: Path
    record: str  # where in the file: "annotation 7"; "" for the file as a whole
    what: str
    mend: str
    serious: bool = True


@dataclass(kw_only=True)
class Problems:
    """Collects the problems of one dataset."""

    dataset: str
    found: list[Problem] = field(default_factory=list)

    def add(self, kind: str, file: Path, record: str, what: str, mend: str = RESTORE, *, serious: bool = True) -> None:
        """Something is wrong."""
        problem = Problem(
            kind=kind, dataset=self.dataset, file=file, record=record, what=what, mend=mend, serious=serious
        )
        self.found.append(problem)

    def note(self, kind: str, file: Path, record: str, what: str, mend: str = "") -> None:
        """Something that is worth knowing, with which the dataset can be used all the same."""
        self.add(kind, file, record, what, mend, serious=False)

    @contextmanager
    def guard(self, kind: str, file: Path, record: str = "") -> Iterator[None]:
        """An error within is added as a problem of this file and record; what follows it there is left out."""
        try:
            yield
        except (ValueError, OSError) as error:
            what, mend = split_message(str(error), file, record)
            self.add(kind, file, record, what, mend)
        except Exception as error:  # one record must not hide the others
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            self.add(
                "unexpected", file, record, what, "the doctor did not expect this: look at the record, and report it"
            )


def split_message(message: str, file: Path, record: str) -> tuple[str, str]:
    """An error of our loaders -> what is wrong and how to mend it, without the place, which is known."""
    what, _, mend = message.removeprefix(f"{file}: ").removeprefix(f"{record}: ").partition("; ")
    return " ".join(what.split()), mend or RESTORE


def printable(text: str) -> str:
    """Text from a data file, such that a terminal shows it and does not obey it; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
