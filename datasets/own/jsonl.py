"""Json lines: one conversation per line, with the masks that its answers point at."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.collected import Collected
from datasets.files import field, inside, parse_json
from datasets.images import check_picture
from datasets.own.records import Asked, OwnPicture, Region, Said
from datasets.own.regions import read_region
from datasets.templates import IMAGE_LINE, check_text
from lisa.conversation import SEG, Conversation, Turn

FIELDS = ("image", "question", "answer", "turns", "masks", "names", "ignore", "type", "meta")
"""What a line may hold; `meta` is not read."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Line:
    """What a line says."""

    path: Path
    asked: Asked
    ignore: tuple[Region, ...]


class JsonLines:
    """The pictures of a file, in the order in which they first occur.

    Lines about the same picture with the same `ignore` belong together. Only their places in the file are
    kept, in arrays, so that a large file costs no memory.
    """

    def __init__(self, source: Path, images: Path | None) -> None:
        """Check every line; pictures are looked for in `images`, by default the folder of the file."""
        self._source = source
        self._images = images or source.parent
        places: list[tuple[int, int]] = []
        groups: dict[tuple[Path, str], list[int]] = {}
        problems = Collected()
        for number, offset, text in _lines(source):
            with problems.guard():
                record, where = self._record(text, number)
                line = read_line(record, self._images, source.parent, where)
                key = (line.path, json.dumps(record.get("ignore"), sort_keys=True))
                groups.setdefault(key, []).append(len(places))
                places.append((number, offset))
        problems.refuse(source)
        if not places:
            raise ValueError(f"{source}: holds no line; write one json object per line")
        order = [index for members in groups.values() for index in members]
        self._places = np.array(places, dtype=np.int64)[order]
        self._starts = np.cumsum([0, *map(len, groups.values())])
        first_of_picture = {path: number for number, (path, _) in reversed(list(enumerate(groups)))}
        self._is_first = np.array([first_of_picture[path] == number for number, (path, _) in enumerate(groups)])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> OwnPicture:
        places = self._places[self._starts[index] : self._starts[index + 1]].tolist()
        lines = []
        with self._source.open("rb") as file:
            for number, offset in places:
                file.seek(offset)
                record, where = self._record(file.readline(), number)
                lines.append(read_line(record, self._images, self._source.parent, where))
        name = lines[0].path.relative_to(self._images).as_posix()
        return OwnPicture(
            path=lines[0].path,
            image_id=name if self._is_first[index] else f"{name}#{places[0][0]}",
            asked=tuple(line.asked for line in lines),
            ignore=lines[0].ignore,
        )

    def said(self) -> Iterator[Said]:
        """The conversation of every line."""
        with self._source.open("rb") as file:
            for index in range(len(self)):
                for number, offset in self._places[self._starts[index] : self._starts[index + 1]].tolist():
                    file.seek(offset)
                    record, where = self._record(file.readline(), number)
                    yield Said(where=where, index=index, text=_conversation(record, where))

    def _record(self, text: bytes, number: int) -> tuple[Any, str]:
        where = f"{self._source}: line {number}"
        if text.rstrip().endswith(b",") or text.strip() in (b"[", b"]"):
            raise ValueError(
                f"{where}: is part of a json list; write one json object per line, without brackets around the lines "
                "or commas between them"
            )
        return parse_json(text, where), where


def _lines(source: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number (from 1), offset and bytes of each line that is not blank."""
    offset = 0
    with source.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise ValueError(f"{source}: is in UTF-16, as Windows redirects output; save it as UTF-8")
        file.seek(0)
        for number, text in enumerate(file, start=1):
            if text.strip():
                yield number, offset, text
            offset += len(text)


def read_line(record: Any, images: Path, folder: Path, where: str) -> Line:
    """A checked line; the picture is in `images`, masks that are files are in `folder`. No pixel is read."""
    if not isinstance(record, dict):
        raise ValueError(f"{where}: {record!r:.40} is no json object; write {{...}} on each line")
    if unknown := sorted(record.keys() - set(FIELDS)):
        raise ValueError(
            f"{where}: no field is called {unknown[0]!r}; known: {', '.join(FIELDS)} (meta holds whatever you like)"
        )
    problems = Collected()
    path, conversation, masks, names, kind = None, None, [], (), ""
    with problems.guard(where):
        named = inside(images, field(record, "image", str, where))
        check_picture(named)
        path = named
    with problems.guard(where):
        masks = field(record, "masks", list, where) if "masks" in record else []
    with problems.guard(where):
        conversation = _conversation(record, where)
        _compare(conversation.num_seg, len(masks))
    with problems.guard(where):
        names = _names(record, len(masks), where)
    with problems.guard(where):
        kind = field(record, "type", str, where) if "type" in record else ""
    values = {f"masks[{index}]": value for index, value in enumerate(masks)}
    regions = _regions(values, path, folder, where, problems)
    ignored = {} if record.get("ignore") is None else {"ignore": record["ignore"]}
    ignore = _regions(ignored, path, folder, where, problems)
    problems.refuse(where)
    return Line(
        path=path, asked=Asked(regions=regions, names=names, conversation=conversation, kind=kind), ignore=ignore
    )


def _compare(num_seg: int, num_masks: int) -> None:
    if num_seg != num_masks:
        raise ValueError(
            f"the answers hold {num_seg} {SEG}, but there are {num_masks} masks; give one mask per {SEG}, in reading "
            "order"
        )


def _regions(
    values: dict[str, Any], picture: Path | None, folder: Path, where: str, problems: Collected
) -> tuple[Region, ...]:
    """The masks of a line, by what they are called in messages; what is wrong with one is a problem."""
    regions = []
    for name, value in values.items() if picture is not None else ():  # without its size no mask can be judged
        with problems.guard(f"{where}: {name}"):
            regions.append(read_region(value, picture, folder, f"{where}: {name}"))
    return tuple(regions)


def _conversation(record: dict, where: str) -> Conversation:
    """`question` and `answer`, or those of each of the `turns`; the picture stands before the first question."""
    if ("turns" in record) == ("question" in record or "answer" in record):
        raise ValueError("a line has either question and answer, or turns, a list of such pairs")
    pairs = field(record, "turns", list, where) if "turns" in record else [record]
    turns: list[Turn] = []
    for index, pair in enumerate(pairs):
        place = f"{where}: turns[{index}]" if "turns" in record else where
        question = check_text(field(pair, "question", str, place), place)
        answer = field(pair, "answer", str, place).strip()
        check_text(answer.replace(SEG, "it"), place)
        turns += [Turn("user", question if turns else IMAGE_LINE + question), Turn("assistant", answer)]
    if not turns:
        raise ValueError("turns is empty; give at least one question with its answer")
    return Conversation(tuple(turns))


def _names(record: dict, count: int, where: str) -> tuple[str, ...]:
    if "names" not in record:
        return ("",) * count
    names = field(record, "names", list, where)
    if len(names) != count:
        raise ValueError(f'{len(names)} names for {count} masks; give one each, "" where there is none')
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"names are texts, one per mask, not {names!r:.60}")
    return tuple(check_text(name, where) if name else "" for name in names)
