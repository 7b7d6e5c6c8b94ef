"""Image files that tests send."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def image_file(size=(40, 30), colour=(200, 200, 200), kind="PNG", **options) -> bytes:
    """An image of one colour, (width, height), as a file."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind, **options)
    return file.getvalue()


def gif(frames: int) -> bytes:
    """An animation."""
    file = io.BytesIO()
    frames_ = [Image.new("RGB", (8, 8), (40 * k, 0, 0)) for k in range(frames)]
    frames_[0].save(file, "GIF", save_all=True, append_images=frames_[1:])
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has width x height pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    idat = _chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + idat + _chunk(b"IEND", b"")


def large_png(width: int, height: int, colour: tuple[int, int, int] = (90, 140, 200)) -> bytes:
    """A PNG of one colour, written without ever holding its pixels: 149 megapixels are about 430 kB."""
    packer = zlib.compressobj(9)
    row = b"\0" + bytes(colour) * width
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
