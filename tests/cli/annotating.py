"""What tests of `lisa annotate` share."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps

from lisa.cli.main import main

BOATS = "Please segment the boats in this image."
GRASS = "Please segment the grass."
WORDS = "What is in this picture?"
"""The kept model answers it without a mask."""
PROMPTS = f"boats: {BOATS}\n{GRASS}\n{WORDS}\n"


def annotate(folder: Path, out: Path, *flags: str, prompts: str = PROMPTS) -> int:
    """Run the command; the prompts lie beside the folder."""
    file = folder.parent / "prompts.txt"
    file.write_text(prompts, encoding="utf-8")
    return main(["annotate", str(folder), "--prompts", str(file), "--out", str(out), *flags])


def scenes(folder: Path, example: Path, *names: str) -> Path:
    """A folder with an image for each name, no two the same."""
    with Image.open(example) as image:
        image.load()
    kinds = (image, ImageOps.mirror(image), image.resize((200, 150)))
    for name, kind in zip(names, kinds, strict=False):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        kind.save(folder / name)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
