"""Files of images wherever they are read: which formats, under which endings, and what in a folder is none of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What any reader opens, by Pillow's names; for others, such as EPS, Pillow would start another program."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")
"""Endings of their files, in lower case."""

_JUNK = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "icon\r")


def is_junk(name: str) -> bool:
    """Whether a system made an entry of a folder, and no user: it is hidden, as `._a.jpg` of Macs, or an index."""
    return name.startswith(".") or name.lower() in _JUNK


def list_folder(folder: Path, *endings: str) -> list[Path]:
    """The entries of a folder without junk, sorted; with endings (in lower case) those that end so, in either case.

    Empty where the folder is not there.
    """
    return [folder / entry.name for entry in list_entries(folder) if _ends(entry.name, endings)]


def list_entries(folder: Path) -> list[os.DirEntry]:
    """The same with what the system tells of each entry, which is faster than to ask for it file by file."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not is_junk(entry.name)), key=lambda entry: entry.name)


def list_below(folder: Path, *endings: str) -> list[Path]:
    """The files in a folder and, after them, in the folders below; links are followed, no folder is listed twice."""
    return list(_below(folder, endings, set()))


def _below(folder: Path, endings: tuple[str, ...], seen: set[tuple[int, int]]) -> Iterator[Path]:
    state = folder.stat()
    if (state.st_dev, state.st_ino) in seen:
        return
    seen.add((state.st_dev, state.st_ino))
    entries = list_entries(folder)
    yield from (folder / entry.name for entry in entries if entry.is_file() and _ends(entry.name, endings))
    for entry in entries:
        if entry.is_dir():
            yield from _below(folder / entry.name, endings, seen)


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return not endings or name.lower().endswith(endings)
