"""LabelMe: a json file per image; each label is asked for, the answer is all of its shapes together."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from datasets.collected import Collected, naming
from datasets.files import field, inside, open_json
from datasets.images import Picture, check_picture, read_header
from datasets.own.records import Asked, OwnPicture
from datasets.own.regions import check_size
from datasets.shapes import Shape, draw_shapes, parse_shape
from datasets.templates import check_text
from lisa.image_files import list_below

IGNORE = "__ignore__"
"""The label of pixels that count for no mask."""
BACKGROUND = "_background_"
"""The label of what is not asked for."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawn:
    """The union of shapes."""

    shapes: tuple[Shape, ...]
    height: int  # of the annotation, pixels
    width: int
    where: str  # file

    def mask(self, picture: Picture) -> np.ndarray:
        """(H, W) bool, in the geometry of the decoded picture."""
        return picture.align(draw_shapes(self.shapes, self.height, self.width), self.where)


class LabelMe:
    """The pictures of a folder, and of the folders below, whose json files have shapes to ask for, sorted."""

    def __init__(self, folder: Path, images: Path | None) -> None:
        """Check every json file; pictures are where `imagePath` says, or in `images` (see `_moved`)."""
        self._folder, self._images = folder, images
        problems = Collected()
        self._sources: list[Path] = []
        sources = list_below(folder, ".json")
        for source in sources:
            with problems.guard(str(source)):
                if self._read(source).asked:
                    self._sources.append(source)
        problems.refuse(folder)
        if not self._sources:
            raise ValueError(f"{folder}: none of its {len(sources)} json files has a shape to ask for; label something")

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: int) -> OwnPicture:
        return self._read(self._sources[index])

    def _read(self, source: Path) -> OwnPicture:
        return read_labelme(open_json(source), source, self._folder, self._images)


def read_labelme(record: Any, source: Path, folder: Path, images: Path | None) -> OwnPicture:
    """A picture with its labels; none where nothing is labelled. No pixel of the picture is read.

    folder is where the data lie; `source` is in it or below.
    """
    where = str(source)
    with naming(where):
        path, data = _find(record, source, folder, images)
        size = _size(record, path, data, where)
    problems = Collected()
    of_label: dict[str, list[Shape]] = {}
    for index, shape in enumerate(field(record, "shapes", list, where)):
        place = f"{where}: shapes[{index}]"
        with problems.guard(place):
            label = check_text(field(shape, "label", str, place), place)
            of_label.setdefault(label, []).append(parse_shape(shape, size, place))
    problems.refuse(source)
    drawn = {
        label: Drawn(shapes=tuple(shapes), height=size[0], width=size[1], where=where)
        for label, shapes in of_label.items()
    }
    ignore = drawn.pop(IGNORE, None)
    drawn.pop(BACKGROUND, None)
    return OwnPicture(
        path=path,
        image_id=source.relative_to(folder).with_suffix("").as_posix(),
        asked=tuple(Asked(names=(label,), regions=(region,)) for label, region in drawn.items()),
        ignore=() if ignore is None else (ignore,),
        data=data,
    )


def _find(record: Any, source: Path, folder: Path, images: Path | None) -> tuple[Path, bytes | None]:
    """The picture, and its bytes where it is not a file of its own but stands in `imageData` of the json file."""
    where, embedded = str(source), isinstance(record, dict) and bool(record.get("imageData"))
    if embedded and not record.get("imagePath"):
        return source, _embedded(record, where)
    name = field(record, "imagePath", str, where).replace("\\", "/")
    try:
        path = _moved(source, folder, images, name) if images else inside(folder, _relative(source, folder, name))
    except ValueError as error:
        if embedded:
            return source, _embedded(record, where)
        mend = f'name the folder of the pictures: "{folder}|FOLDER"'
        raise ValueError(f"imagePath {name!r} leads out of {images or folder}; {mend}") from error
    if embedded and not path.is_file():
        return source, _embedded(record, where)
    check_picture(path)
    return path, None


def _relative(source: Path, folder: Path, name: str) -> str:
    """The path below `folder` (or out of it) to what `name` is as seen from the json file."""
    return os.path.relpath(os.path.join(source.parent.absolute(), name), folder.absolute())  # noqa: PTH118


def _moved(source: Path, folder: Path, images: Path, name: str) -> Path:
    """The picture in the folder `images` that `name` stands for, as far as its last folders still fit.

    The file itself where it is in there; else the longest end of the name; else the file of that name that lies in
    `images` as the json file does in `folder`.
    """
    windows = PureWindowsPath(name)
    parts = [part for part in windows.parts[bool(windows.anchor) :] if part != ".."]
    if not parts:
        raise ValueError(f"{name!r} names no file")
    ends = [str(PurePosixPath(*parts[start:])) for start in range(len(parts))]
    mirrored = (source.relative_to(folder).parent / parts[-1]).as_posix()
    names = [*ends[:-1], mirrored, ends[-1]]
    itself = _relative(source, images, name)
    if not itself.startswith(".."):
        names.insert(0, itself)
    candidates = [inside(images, one) for one in names]
    return next((path for path in candidates if path.is_file()), candidates[-1])


def _embedded(record: dict, where: str) -> bytes:
    """The file in `imageData`, checked."""
    text = field(record, "imageData", str, where)
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"imageData is no base64 ({error}); save the file in LabelMe again") from error
    with naming("imageData"):
        check_picture(Path(where), data)
    return data


def _size(record: dict, path: Path, data: bytes | None, where: str) -> tuple[int, int]:
    """(height, width) of the annotation: that of the picture where the file does not say."""
    if record.get("imageHeight") is None or record.get("imageWidth") is None:
        return read_header(path, data).size
    size = field(record, "imageHeight", int, where), field(record, "imageWidth", int, where)
    check_size(path, size, "the file", data)
    return size
