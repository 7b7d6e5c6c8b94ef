"""Folders of pictures and masks: one thing per folder, or label maps with a list of classes."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np

from datasets.collected import Collected, naming
from datasets.files import open_json
from datasets.images import check_picture, read_label_map
from datasets.own.records import Asked, OwnPicture
from datasets.own.regions import Labelled, MaskFile, check_mask_file
from datasets.templates import check_text
from lisa.image_files import SUFFIXES, list_folder

BACKGROUND, IGNORE = 0, 255
"""What these values of a label map mean where the classes do not name them."""
CLASS_FILES = ("classes.json", "labels.txt")


class PairedMasks:
    """Pictures and PNG masks of the same stem, sorted.

    Without a class file the folder's name is asked for, and every pixel that is not 0 belongs to it. With
    one, each mask is a label map, and the classes that are in it are asked for; where none is, all are,
    and the right answer is an empty mask.
    """

    def __init__(self, folder: Path, images: Path | None) -> None:
        """Pair up and check the headers of images/ and masks/ in `folder`, or of `images` and `folder`."""
        self._masks = folder / "masks" if (folder / "masks").is_dir() else folder
        images = images or folder / "images"
        self._classes = read_classes(folder)
        self._name = folder.resolve().name.replace("_", " ")
        problems = Collected()
        self._pairs = pair_files(images, self._masks, problems)
        for picture, mask in self._pairs:
            with problems.guard():
                check_picture(picture)
                check_mask_file(mask, picture, label_map=self._classes is not None)
        problems.refuse(folder)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> OwnPicture:
        picture, mask = self._pairs[index]
        if self._classes is None:
            asked, ignore = [Asked(names=(self._name,), regions=(MaskFile(mask),))], ()
        else:
            asked, ignore = _ask_for_classes(mask, self._classes)
        return OwnPicture(path=picture, image_id=picture.stem, asked=tuple(asked), ignore=ignore)


def _ask_for_classes(path: Path, classes: dict[str, tuple[int, ...]]) -> tuple[list[Asked], tuple[Labelled, ...]]:
    """What is asked for in a label map, and what counts for nothing."""
    ids = read_label_map(path)
    present = set(np.unique(ids).tolist())
    named = {value for values in classes.values() for value in values}
    if unknown := sorted(present - named - {BACKGROUND, IGNORE}):
        raise ValueError(f"{path}: holds the value {unknown[0]}, which no class has; known: {sorted(named)}")
    asked = {name: values for name, values in classes.items() if present & set(values)} or classes
    regions = {name: Labelled(ids=ids, values=values, path=path) for name, values in asked.items()}
    ignored = IGNORE in present and IGNORE not in named
    return (
        [Asked(names=(name,), regions=(region,)) for name, region in regions.items()],
        (Labelled(ids=ids, values=(IGNORE,), path=path),) if ignored else (),
    )


def read_classes(folder: Path) -> dict[str, tuple[int, ...]] | None:
    """The pixel values of each class, by name; None where the folder has no class file.

    classes.json: {"1": "rust", "2": "dent"}. labels.txt: one name per line, the first is value 1.
    """
    found = [folder / name for name in CLASS_FILES if (folder / name).is_file()]
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"{folder}: has both {' and '.join(CLASS_FILES)}; remove one")
    pairs = _json_classes(found[0]) if found[0].suffix == ".json" else _text_classes(found[0])
    classes: dict[str, tuple[int, ...]] = {}
    for value, name in pairs:
        classes[name] = (*classes.get(name, ()), value)
    if not classes:
        raise ValueError(f"{found[0]}: names no class; write at least one")
    return classes


def _json_classes(path: Path) -> list[tuple[int, str]]:
    content = open_json(path)
    if not isinstance(content, dict):
        raise ValueError(f'{path}: must be like {{"1": "rust", "2": "dent"}}, pixel value and name')
    pairs = []
    for key, name in content.items():
        if not (key.isascii() and key.isdigit() and len(key) <= 5 and isinstance(name, str)):
            raise ValueError(f"{path}: {key!r:.40}: {name!r:.40} is not a pixel value and a name")
        pairs.append((int(key), check_text(name, f"{path}: class {key}")))
    return pairs


def _text_classes(path: Path) -> list[tuple[int, str]]:
    with naming(str(path)):
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    return [(number, check_text(line, f"{path}: line {number}")) for number, line in enumerate(lines, start=1)]


def pair_files(images: Path, masks: Path, problems: Collected) -> list[tuple[Path, Path]]:
    """Pictures and masks of equal stem, sorted; each must have its counterpart."""
    pictures = _by_stem(images, problems)
    drawn = _by_stem(masks, problems)
    if not pictures:
        raise FileNotFoundError(f"{images}: holds no picture ({', '.join(SUFFIXES)})")
    for stem in sorted(pictures.keys() ^ drawn.keys()):
        here, there = (pictures[stem], masks) if stem in pictures else (drawn[stem], images)
        problems.add(
            FileNotFoundError(
                f"{here}: has no counterpart in {there} ({len(pictures)} pictures, {len(drawn)} masks); "
                "a picture and its mask have the same name but for the ending. Add the file or remove this one"
            )
        )
    return [(pictures[stem], drawn[stem]) for stem in sorted(pictures.keys() & drawn.keys())]


def _by_stem(folder: Path, problems: Collected) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in list_folder(folder, *SUFFIXES):
        stem = unicodedata.normalize("NFC", path.stem)  # Macs take "é" apart in names
        if stem in files:
            problems.add(ValueError(f"{path}: there is also {files[stem].name}; remove one or give it another name"))
        files[stem] = path
    return files
