"""Ways to damage a tree."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Damage:
    """A change of the tree, and what the doctor must say about it."""

    do: Callable
    kind: str
    file: str  # the end of it
    record: str = ""  # the beginning of it
    says: str = ""
    data: str = ""


def cut(relative: str, keep: float = 0.6) -> Callable:
    def do(tree):
        data = (tree / relative).read_bytes()
        (tree / relative).write_bytes(data[: int(len(data) * keep)])

    return do


def write(relative: str, data: bytes) -> Callable:
    return lambda tree: (tree / relative).write_bytes(data)


def remove(relative: str) -> Callable:
    return lambda tree: (tree / relative).unlink()


def drop(relative: str) -> Callable:
    return lambda tree: shutil.rmtree(tree / relative)


def label(relative: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable:
    def do(tree):
        ids = np.array(Image.open(tree / relative))
        Image.fromarray(change(ids)).save(tree / relative)

    return do


def json_edit(relative: str, change: Callable) -> Callable:
    return lambda tree: tree.edit_json(relative, change)


def refs_edit(relative: str, change: Callable) -> Callable:
    return lambda tree: tree.edit_refs(relative, change)


def with_value(ids: np.ndarray, value: int) -> np.ndarray:
    ids = ids.copy()
    ids[:2] = value
    return ids


def put(*path_and_value) -> Callable:
    """A change that sets content[path...] = value."""
    *path, last, value = path_and_value

    def change(content):
        for key in path:
            content = content[key]
        content[last] = value

    return change


def delete(*path) -> Callable:
    """A change that deletes content[path...]."""
    *path, last = path

    def change(content):
        for key in path:
            content = content[key]
        del content[last]

    return change


def repeat(*path) -> Callable:
    """A change that appends the first record of a table once more."""

    def change(content):
        for key in path:
            content = content[key]
        content.append(content[0])

    return change


def size_of(relative: str, width: int, height: int) -> Callable:
    return lambda tree: Image.new("RGB", (width, height)).save(tree / relative)


def bomb(relative: str, width: int = 60_000, height: int = 60_000) -> Callable:
    """A PNG of a few bytes that declares a huge size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )
    return write(relative, png)


class Hostile:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


def copy(source: str, target: str) -> Callable:
    return lambda tree: shutil.copyfile(tree / source, tree / target)
