"""The record of what a job has written: only these files are ever replaced or removed.

Each file is recorded with the hash of its content before it appears under its name, so that also after a kill every
file of the job is recorded. A file that somebody has changed since does not have that hash: it is theirs then.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from lisa.whole_file import whole_file, write_whole

WORK = ".lisa"
"""Folder below the output in which a job keeps its plan and what is done."""
PLAN, RECORD, FINISHED = "plan.json", "written.jsonl", "finished.json"
"""Files in it: what is asked for; what was written, while the job runs; the same and the summary when it is done."""


class Written:
    """The files of a job below `out`, by their paths relative to it."""

    def __init__(self, out: Path) -> None:
        """Read the record of the job in `out`, if there is one; a record that is none raises ValueError."""
        self.out = out
        self.work = out / WORK
        self._root = out.resolve()
        if os.path.lexists(self.work) and not _is_plain(self.work):
            raise ValueError(f"{self.work} is not the folder of a job; move it away, or name another --out")
        self._hashes = read_record(self.work)

    def __contains__(self, path: str) -> bool:
        """Whether the file at `path` is the job's: recorded, inside `out`, and as it was written."""
        if path not in self._hashes or not self.is_inside(path):
            return False
        place = self.out / path
        return place.is_file() and not place.is_symlink() and _hash_of(place) in self._hashes[path]

    @property
    def files(self) -> dict[str, list[str]]:
        """The hashes that each recorded file may have."""
        return {path: sorted(hashes) for path, hashes in self._hashes.items()}

    def is_inside(self, path: str) -> bool:
        """Whether a path stays below `out`, with links followed."""
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            return False
        return (self.out / path).parent.resolve().is_relative_to(self._root)

    def refuse_foreign(self, paths: Iterable[str]) -> None:
        """ValueError when something that is not the job's stands where it would write."""
        foreign = []
        for path in paths:
            if not self.is_inside(path):
                place = (self.out / path).parent.resolve()
                raise ValueError(f"{self.out / path} is behind a link, in {place}, outside --out; name another --out")
            if (obstacle := self._obstacle(path)) is not None:
                foreign.append(obstacle)
        if foreign:
            more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
            raise ValueError(
                f"{foreign[0]}{more} is in the way: this job would write there, but has not written it, or somebody "
                "has changed it since; move it away, or name another --out"
            )

    def _obstacle(self, path: str) -> Path | None:
        place = self.out / path
        if os.path.lexists(place) and path not in self:
            return place
        for parent in PurePosixPath(path).parents:
            if os.path.lexists(self.out / parent) and not (self.out / parent).is_dir():
                return self.out / parent
        return None

    def write(self, files: Mapping[str, bytes]) -> None:
        """Each file, whole or not at all; none where one of them would replace a file of somebody else."""
        self.refuse_foreign(files)
        self._record({path: hashlib.sha256(data).hexdigest() for path, data in files.items()})
        for path, data in files.items():
            partial = self.work / "file.partial"
            partial.write_bytes(data)
            self._move(partial, path)

    def write_lines(self, path: str, lines: Iterable[str]) -> None:
        """A text file, whole or not at all, that may be larger than memory."""
        self.refuse_foreign([path])
        partial = self.work / "lines.partial"
        with whole_file(partial) as file:
            file.writelines(lines)
        self._record({path: _hash_of(partial)})
        self._move(partial, path)

    def clear(self) -> list[str]:
        """Remove all of the job: its files, the folders that are empty then, and what it keeps in its folder of work.

        Returns the files that stay, since somebody has changed them. A kill leaves no half of a job that would go on.
        """
        if not self.work.is_dir():
            return []
        write_whole(self.work / RECORD, _lines((path, value) for path in self._hashes for value in self._hashes[path]))
        for path in (self.work / FINISHED, *self.work.glob("[0-9]" * 7 + ".jsonl")):
            path.unlink(missing_ok=True)
        changed = [path for path in self._hashes if not self._remove(path)]
        for name in (RECORD, PLAN):
            (self.work / name).unlink(missing_ok=True)
        self._hashes = {}
        return changed

    def _remove(self, path: str) -> bool:
        """Whether the recorded file is gone."""
        if path in self:
            (self.out / path).unlink()
            _remove_empty((self.out / path).parent, self.out)
        return not (self.is_inside(path) and os.path.lexists(self.out / path))

    def _record(self, hashes: dict[str, str]) -> None:
        with (self.work / RECORD).open("a+b") as file:
            _remove_cut_line(file)
            file.write(_lines(hashes.items()).encode())
            file.flush()
            os.fsync(file.fileno())
        for path, value in hashes.items():
            self._hashes.setdefault(path, set()).add(value)

    def _move(self, partial: Path, path: str) -> None:
        place = self.out / path
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(place)


def read_record(work: Path) -> dict[str, set[str]]:
    """The hashes that each recorded file may have, from a job's folder of work; none where there is no job."""
    hashes: dict[str, set[str]] = {}
    if (work / FINISHED).is_file():
        for path, values in json_object(work / FINISHED, files=dict)["files"].items():
            hashes.setdefault(path, set()).update(map(str, values))
    if (work / RECORD).is_file():
        for line in (work / RECORD).read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):  # a kill may have cut the last one, whose file then was not written
                one = _parse(line, work / RECORD, file=str, sha256=str)
                hashes.setdefault(one["file"], set()).add(one["sha256"])
    return hashes


def _lines(hashes: Iterable[tuple[str, str]]) -> str:
    return "".join(json.dumps({"file": path, "sha256": value}, ensure_ascii=False) + "\n" for path, value in hashes)


def json_object(path: Path, **kinds: type) -> dict[str, Any]:
    """The object in a file of a job, which has these fields; ValueError where it has not."""
    return _parse(path.read_bytes(), path, **kinds)


def _parse(text: bytes, path: Path, **kinds: type) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(isinstance(value.get(name), kind) for name, kind in kinds.items()):
        raise ValueError(f"{path} is not what `lisa annotate` writes there; move it away, or name another --out")
    return value


def _remove_cut_line(file: BinaryIO) -> None:
    """Take away a last line that a kill has cut."""
    if not file.seek(0, os.SEEK_END):
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _is_plain(work: Path) -> bool:
    """Whether it is a folder and holds files alone: what is written into a link would land elsewhere."""
    return work.is_dir() and not work.is_symlink() and not any(path.is_symlink() for path in work.iterdir())


def _hash_of(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def _remove_empty(folder: Path, out: Path) -> None:
    while folder != out and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
