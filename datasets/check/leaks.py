"""Training pictures that also occur where a model is evaluated."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from datasets.check.problems import Problems

MEND = "remove it from one of the two splits, or do not report numbers on the second"


def shared_files(problems: Problems, splits: Mapping[str, Sequence[Path]], train: str) -> None:
    """Pictures of `train` that another split has too: under the same name, or the same bytes under another."""
    for split in splits.keys() - {train}:
        for ours, theirs in _same_files(splits[train], splits[split]):
            how = "the same name" if ours.name == theirs.name else "the same content"
            problems.add("leak", theirs, "", f"{how} as {ours}, a picture of {train}, but it belongs to {split}", MEND)


def _same_files(ours: Sequence[Path], theirs: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Pairs of equal name or equal content; only files of equal length are read."""
    names = {path.name: path for path in ours}
    lengths: dict[int, list[Path]] = {}
    for path in ours:
        lengths.setdefault(_length(path), []).append(path)
    pairs = []
    for path in theirs:
        if path.name in names:
            pairs.append((names[path.name], path))
            continue
        candidates = lengths.get(_length(path), []) if _length(path) else []
        if candidates:
            digest = _digest(path)
            pairs += [(other, path) for other in candidates if _digest(other) == digest][:1]
    return pairs


def _length(path: Path) -> int:
    """Bytes; 0 for what cannot be opened, which is reported elsewhere."""
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path) -> bytes:
    return hashlib.blake2b(path.read_bytes()).digest()


def shared_ids(ours: Mapping[Hashable, object], theirs: Mapping[Hashable, object]) -> list:
    """Keys that both have, in the order of the second."""
    return [key for key in theirs if key in ours]
