"""Folders and JSON files of a dataset: there, inside their root and readable, or an error with the mend."""

from __future__ import annotations

import codecs
import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from lisa.image_files import list_entries

if TYPE_CHECKING:
    from datasets.tree import Tree

SYNTHETIC_HINT = "`python -m datasets.synthetic --out data/synthetic` makes a whole tree without any download"


def missing(path: Path, layout: str) -> FileNotFoundError:
    """The error for a path that is not there; `layout` lists what belongs under the dataset folder."""
    return FileNotFoundError(
        f"{path}: not found. Expected under the dataset folder:\n{layout}\n"
        f"Point --dataset_dir at a folder that has them; {SYNTHETIC_HINT}."
    )


def require_folder(path: Path, layout: str) -> Path:
    """`path`, which is a folder; else FileNotFoundError."""
    if not path.is_dir():
        raise missing(path, layout)
    return path


def require_file(path: Path, layout: str) -> Path:
    """`path`, which is a file; else FileNotFoundError."""
    if not path.is_file():
        raise missing(path, layout)
    return path


def require_images(images: Path | Tree, names: Iterable[str], source: Path) -> None:
    """Refuse annotations of `source` whose pictures are not below the folder `images`; nothing is opened.

    names are relative to `images`. Folders are listed, since asking for 100,000 files one by one takes seconds.
    """
    wanted = {tuple(str(name).rpartition("/")[::2]) for name in names}
    listed = {folder for folder, _ in wanted}
    there = {(folder, entry.name) for folder in listed for entry in list_entries(images / folder) if not entry.is_dir()}
    absent = sorted(f"{folder}/{name}".lstrip("/") for folder, name in wanted - there)
    if absent:
        raise FileNotFoundError(
            f"{images / absent[0]}: not found, but {source} annotates it ({len(absent)} of {len(wanted)} pictures are "
            "missing). Complete the pictures, or take their records out of the annotation file."
        )


def inside(root: Path | Tree, name: str) -> Path:
    """`root / name` for a file name read from a data file, which may not lead out of `root`; see `name_inside`.

    Decided by the name alone: a symbolic link below `root` is the user's own and is followed.
    """
    return root / name_inside(root, name)


def name_inside(root: Path | Tree, name: str) -> str:
    """A file name read from a data file as it is spelled below `root`; ValueError for one that leads out of there.

    A name of which there is no file is tried with / for the \\ of Windows, and with accents as other systems write
    them: Macs take "é" apart in names. What is nowhere is returned with /.
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    escapes = ".." in posix.parts + windows.parts or posix.is_absolute() or windows.anchor
    if not name or escapes or "\0" in name:
        raise ValueError(f"file name {name!r} leads out of {root}; give a path relative to that folder")
    if name.isascii() and "\\" not in name:
        return name
    return next((other for other in _spellings(name) if (root / other).exists()), name.replace("\\", "/"))


def _spellings(name: str) -> Iterator[str]:
    for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
        yield spelling
        for form in ("NFC", "NFD"):
            yield unicodedata.normalize(form, spelling)


def note(text: str) -> None:
    """Tell the user something with which the run goes on; of several processes the first tells it."""
    if os.environ.get("RANK", "0") == "0":
        print(f"note: {text}", file=sys.stderr, flush=True)


def open_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8 (with or without BOM), UTF-16 with BOM or, failing these, cp1252."""
    return parse_json(path.read_bytes(), str(path))


def parse_json(data: bytes, where: str) -> Any:
    """The value of JSON text in an encoding as `open_json` knows it; `where` names the source."""
    if not data.strip():
        raise ValueError(f"{where}: the file is empty; restore it from its source")
    try:
        return json.loads(_decode(data))
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON ({error}); restore it from its source") from error
    except RecursionError as error:
        raise ValueError(f"{where}: JSON nested too deeply; restore it from its source") from error


def _decode(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as Windows redirects output into files
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def field(record: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """`record[key]`, which is of type `kind`; else ValueError. `where` names the file and the record."""
    if not isinstance(record, dict) or key not in record:
        raise ValueError(f"{where}: no field {key!r}")
    value = record[key]
    if not isinstance(value, kind):
        names = " or ".join(t.__name__ for t in (kind if isinstance(kind, tuple) else (kind,)))
        raise ValueError(f"{where}: field {key!r} is {value!r:.60}, not of type {names}")
    return value
