"""Records of annotation files: made once, then memory-mapped.

The second opening of a file of hundreds of MB parses nothing, and any number of workers share one copy of the
records, since only the record that is asked for becomes Python objects.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np

VERSION = 2
"""Counts changes of what is kept in a record."""

Columns = dict[str, Callable[[dict], "int | str"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordIndex(Sequence):
    """JSON records, one after the other in a blob of bytes, and what is asked of all of them at once."""

    blob: np.ndarray  # uint8
    ends: np.ndarray  # (N,) int64: record i ends before ends[i]
    columns: dict[str, np.ndarray]  # (N,) each: a number or text of every record
    folder: Path | None = None  # where it is on disk

    @classmethod
    def of(cls, records: Iterable[dict], columns: Columns) -> RecordIndex:
        """An index in memory; `columns` says what of a record is kept aside, by name."""
        blob, ends, kept = bytearray(), [], {name: [] for name in columns}
        for record in records:
            blob += json.dumps(record, separators=(",", ":")).encode()
            ends.append(len(blob))
            for name, column in columns.items():
                kept[name].append(column(record))
        return cls(
            blob=np.frombuffer(bytes(blob), dtype=np.uint8),
            ends=np.array(ends, dtype=np.int64),
            columns={name: np.array(values) for name, values in kept.items()},
        )

    @classmethod
    def mapped(cls, folder: Path) -> RecordIndex:
        """The index that a folder holds, mapped, not read."""
        columns = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
        ends = columns.pop("ends")
        path = folder / "records.bin"
        empty = path.stat().st_size == 0  # which cannot be mapped
        blob = np.zeros(0, np.uint8) if empty else np.memmap(path, dtype=np.uint8, mode="r")
        if len(blob) != (ends[-1] if len(ends) else 0):
            raise ValueError(f"{folder}: a damaged index; delete this folder, it is made anew")
        return cls(blob=blob, ends=ends, columns=columns, folder=folder)

    def save(self, folder: Path) -> None:
        """Write `folder` whole or not at all; one that another process wrote meanwhile is kept."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
        self.blob.tofile(unfinished / "records.bin")
        for name, column in {**self.columns, "ends": self.ends}.items():
            np.save(unfinished / f"{name}.npy", column)
        try:
            unfinished.rename(folder)
        except OSError:
            shutil.rmtree(unfinished)
            if not folder.is_dir():
                raise

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> dict: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        start = self.ends[index - 1] if index else 0
        return json.loads(self.blob[start : self.ends[index]].tobytes())

    def __reduce__(self):
        """A worker that is spawned maps the file again; pickled, a map would be copied whole."""
        if self.folder is not None:
            return RecordIndex.mapped, (self.folder,)
        return partial(RecordIndex, blob=self.blob, ends=self.ends, columns=self.columns), ()


def open_index(
    index_dir: Path | None,
    name: str,
    sources: Sequence[Path],
    build: Callable[[], Iterable[dict]],
    columns: Columns,
    choices: dict[str, object],
) -> RecordIndex:
    """The records that `build` makes of the files `sources` and of `choices`.

    Below `index_dir` they are kept for the next time, until a file changes (its size or time); without it they
    are made anew, in memory.
    """
    if index_dir is None:
        return RecordIndex.of(build(), columns)
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    key = json.dumps([VERSION, name, stats, choices], sort_keys=True, default=str)
    folder = index_dir / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        RecordIndex.of(build(), columns).save(folder)
    return RecordIndex.mapped(folder)
