"""What lies in a folder of images: the images, and whatever has an image's ending and cannot be used."""

from __future__ import annotations

import os
import stat
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lisa.annotation.written import WORK, read_record
from lisa.image_files import SUFFIXES, is_junk, list_entries


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The entries below a folder that have an image's ending; each is in one of the three."""

    images: list[list] = field(default_factory=list)
    """[path below the folder, bytes, time of change in nanoseconds] of each image, sorted by path."""
    unusable: list[list] = field(default_factory=list)
    """[path below the folder as `escaped` writes it, reason] of what cannot be opened, sorted by path."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Why entries were left out on purpose -> how many."""


def list_images(folder: Path, out: Path) -> Listing:
    """The images below a folder; links to folders are followed, each folder is listed once.

    Left out: what is hidden (its name begins with a dot), what `lisa annotate` has written, and the folder `out` where
    it is not `folder` itself.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder of images")
    listing = Listing()
    seen = {_identity(out)} if out.is_dir() and not out.samefile(folder) else set()
    own: set[str] = set()
    waiting, links, like_images = [""], [], []
    while waiting or links:
        # Folders before links: a folder that is both is listed under its own path.
        name = (waiting or links).pop()
        if not _is_new(folder / name, seen):
            _count(listing, "a folder that is listed under another path, or the output")
            continue
        try:
            entries = list_entries(folder / name)
            _count_junk(listing, folder / name)
        except OSError as error:
            listing.unusable.append([escaped(name) + "/", f"a folder that cannot be listed ({error.strerror})"])
            continue
        own.update(os.path.join(name, path) for path in _written_in(folder / name))  # noqa: PTH118
        for entry in reversed(entries):
            path = f"{name}/{entry.name}" if name else entry.name
            like_image = entry.name.lower().endswith(SUFFIXES)
            if _is_folder(entry):
                (links if entry.is_symlink() else waiting).append(path)
                like_images += [path] * like_image
            elif like_image:
                _sort_in(listing, entry, path, own)
    listing.unusable.extend(_without_images(like_images, listing, own))
    listing.images.sort()
    listing.unusable.sort()
    if not (listing.images or listing.unusable):
        raise ValueError(f"{folder}: no image in it (files that end in {', '.join(SUFFIXES)})")
    return listing


def _sort_in(listing: Listing, entry: os.DirEntry, path: str, own: set[str]) -> None:
    """Put an entry that is no folder where it belongs."""
    if path in own:
        _count(listing, "written by `lisa annotate`")
        return
    try:
        state = entry.stat()
        if stat.S_ISREG(state.st_mode):
            path.encode()
            listing.images.append([path, state.st_size, state.st_mtime_ns])
            return
        reason = "no file, but a device, a pipe or a socket"
    except UnicodeEncodeError:
        reason = "the name is not UTF-8, so that no result could name it; rename it"
    except FileNotFoundError:
        reason = "a link to what is not there"
    except OSError as error:
        reason = f"cannot be opened ({error.strerror})"
    listing.unusable.append([escaped(path), reason])


def _count_junk(listing: Listing, folder: Path) -> None:
    for path in folder.iterdir():
        if is_junk(path.name) and path.name.lower().endswith(SUFFIXES):
            _count(listing, "hidden (the name begins with a dot)")


def _count(listing: Listing, reason: str) -> None:
    listing.left_out[reason] = listing.left_out.get(reason, 0) + 1


def _without_images(folders: list[str], listing: Listing, own: set[str]) -> list[list]:
    """Those of the folders, whose names end as images do, that hold nothing that does."""
    paths = own.union(path for path, *_ in listing.images)
    found = sorted([*map(escaped, paths), *(path for path, _ in listing.unusable)])
    empty = []
    for path in map(escaped, folders):
        following = found[(place := bisect_left(found, f"{path}/")) : place + 1]
        if not any(other.startswith(f"{path}/") for other in following):
            empty.append([path, "a folder, not an image, and no image is in it"])
    return empty


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into a folder that may not be read
        return False


def _is_new(folder: Path, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder is met for the first time; one that cannot be looked at is."""
    try:
        identity = _identity(folder)
    except OSError:
        return True
    if identity in seen:
        return False
    seen.add(identity)
    return True


def _identity(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_dev, state.st_ino


def _written_in(folder: Path) -> Iterable[str]:
    """What a job whose output is this folder has written, by its paths below it."""
    try:
        return read_record(folder / WORK)
    except (ValueError, OSError):  # not ours, or not to be read: then nothing here is known to be ours
        return ()


def escaped(name: str) -> str:
    """A file name as one line of UTF-8: control characters, bytes that are no UTF-8 and backslashes as Python does."""
    return "".join(map(_escape, name))


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character == "\\" or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return character.encode("unicode_escape").decode()
    return character
