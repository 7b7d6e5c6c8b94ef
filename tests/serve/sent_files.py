"""Picture files that tests send."""

from __future__ import annotations

import io

from PIL import Image


def picture_file(size=(40, 30), colour=(200, 200, 200), kind="PNG", **options) -> bytes:
    """A picture of one colour, (width, height), as a file."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind, **options)
    return file.getvalue()


def gif(frames: int) -> bytes:
    """An animation."""
    file = io.BytesIO()
    pictures = [Image.new("RGB", (8, 8), (40 * k, 0, 0)) for k in range(frames)]
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:])
    return file.getvalue()
