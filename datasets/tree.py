"""The tree of datasets as users have it: the official folders below one root, or any of them somewhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from datasets.index import Columns, RecordIndex, open_index

SEPARATOR = "||"


@dataclass(frozen=True, kw_only=True)
class Tree:
    """`tree / "coco/train2017"` is that folder below the root, or the place to which it was moved."""

    root: Path
    elsewhere: dict[str, Path] = field(default_factory=dict)
    """Folder of the tree, as in "refer_seg/images" -> where it is instead."""
    prefix: str = ""
    """Folder of the tree from which paths start."""
    index_dir: Path | None = None
    """Folder of indexes over large annotation files; None keeps them in memory, to be made anew each time."""

    @classmethod
    def of(cls, place: Path | Tree) -> Tree:
        """A root folder as a tree; a tree as it is."""
        return place if isinstance(place, Tree) else cls(root=Path(place))

    @classmethod
    def at(cls, root: Path, elsewhere: str, index_dir: Path | None) -> Tree:
        """A tree from flags: `elsewhere` is like "coco=/mnt/coco||vlpart/paco=/mnt/paco", or empty."""
        moved = {}
        for entry in filter(None, elsewhere.split(SEPARATOR)):
            folder, separator, place = entry.partition("=")
            folder = folder.strip().strip("/")
            if not (separator and folder and place):
                raise ValueError(f'--elsewhere has {entry!r}, but must be like "coco/train2017=/mnt/coco/train2017"')
            if not Path(place).exists():
                raise FileNotFoundError(f"--elsewhere says that {folder} is at {place}, but there is nothing")
            if folder in moved:
                raise ValueError(f"--elsewhere names {folder} twice")
            moved[folder] = Path(place)
        return cls(root=Path(root), elsewhere=moved, index_dir=index_dir)

    def below(self, folder: str) -> Tree:
        """The tree as seen from one of its folders; what lies elsewhere is still found."""
        return replace(self, prefix=str(PurePosixPath(self.prefix, folder)))

    def __truediv__(self, relative: str) -> Path:
        path = PurePosixPath(self.prefix, relative)
        for folder in (path, *path.parents):
            if (place := self.elsewhere.get(str(folder))) is not None:
                return place / path.relative_to(folder)
        return self.root / path

    def index(
        self,
        name: str,
        sources: Sequence[Path],
        build: Callable[[], Iterable[dict]],
        columns: Columns,
        **choices: object,
    ) -> RecordIndex:
        """The records that `build` makes of annotation files, made once (see `datasets.index`)."""
        return open_index(self.index_dir, name, sources, build, columns, choices)
