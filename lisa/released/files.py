"""Folders of weights: which files, and writing them shard by shard."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lisa.image_files import list_folder
from lisa.json_files import read_json, write_json

SUFFIXES = (".safetensors", ".bin")
"""Kinds of weights, the preferred one first."""
_WHOLE = {".safetensors": "model.safetensors", ".bin": "pytorch_model.bin"}
"""A file of that name holds a whole model, whatever lies beside it, as in transformers."""
_NUMBERED = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")
_ASIDE = ("training_args.bin", "mm_projector.bin", "optimizer.bin", "scheduler.bin")
"""What training leaves beside the weights; LLaVA's mm_projector.bin is a copy of a part of them."""


def weight_files(path: Path) -> list[Path]:
    """The files of a checkpoint, in order: one file, or a folder's whole one, or what its index lists, or its shards.

    safetensors are preferred to .bin. An index none of whose files is there is passed over where there are other
    weights. FileNotFoundError names files that should be there and are not.
    """
    if path.is_file():
        return [path]
    loose = {suffix: _loose(path, suffix) for suffix in SUFFIXES}
    for suffix in SUFFIXES:
        if (path / _WHOLE[suffix]).is_file():
            return [path / _WHOLE[suffix]]
        for index in list_folder(path, f"{suffix}.index.json"):
            names = listed_files(index)
            lost = [name for name in names if not (path / name).is_file()]
            if lost and (len(lost) < len(names) or not any(loose.values())):
                raise FileNotFoundError(
                    f"{path} lacks {', '.join(lost)}, which {index.name} lists; copy the whole folder"
                )
            if not lost:
                return [path / name for name in names]
        if loose[suffix]:
            return _whole_set(loose[suffix])
    raise FileNotFoundError(
        f"{path} holds no weights (*.safetensors or *.bin); copy the whole folder of the checkpoint"
    )


def listed_files(index: Path) -> list[str]:
    """The names of the files that an index lists; ValueError when it lists none, or one outside of its folder."""
    listed = read_json(index).get("weight_map")
    names = listed.values() if isinstance(listed, dict) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{index} has no weight_map from names of weights to names of files; copy it again")
    if outside := sorted({name for name in names if Path(name).name != name or "\\" in name}):
        raise ValueError(f"{index} names {outside[0]!r}, which is no file of its own folder; copy the checkpoint again")
    return sorted(set(names))


def _loose(folder: Path, suffix: str) -> list[Path]:
    """The files of weights in a folder, by name."""
    return [file for file in list_folder(folder, suffix) if file.name not in _ASIDE and file.is_file()]


def _whole_set(files: list[Path]) -> list[Path]:
    """Of files that no index lists the numbered shards, or all; FileNotFoundError when a shard's number is missing."""
    shards = [file for file in files if _NUMBERED.fullmatch(file.name)]
    for stem, _, count, suffix in (_NUMBERED.fullmatch(file.name).groups() for file in shards):
        wanted = {f"{stem}-{k:05d}-of-{count}{suffix}" for k in range(1, int(count) + 1)}
        if lost := sorted(wanted - {file.name for file in shards}):
            raise FileNotFoundError(f"{files[0].parent} lacks {', '.join(lost[:9])}; copy the whole folder")
    return shards or files


class ShardWriter:
    """Writes named tensors to one file per call, and the index of all of them at the end."""

    def __init__(self, folder: Path, stem: str, suffix: str) -> None:
        self.folder, self.stem, self.suffix = folder, stem, suffix
        self.shards: list[list[str]] = []
        self.total = 0

    def write(self, tensors: dict[str, Tensor]) -> None:
        """One shard, unless there is nothing to write."""
        if not tensors:
            return
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        self.shards.append(list(tensors))
        self.total += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        path = self.folder / self._part(len(self.shards))
        if self.suffix == ".safetensors":
            save_file(tensors, path, metadata={"format": "pt"})
        else:
            # torch.save writes a view's whole storage, so every tensor gets one of its own.
            torch.save({name: tensor.clone() for name, tensor in tensors.items()}, path)

    def finish(self) -> None:
        """Give the shards their final names, and write the index when there are several."""
        count, weight_map = len(self.shards), {}
        for number, names in enumerate(self.shards, start=1):
            final = f"{self.stem}-{number:05d}-of-{count:05d}{self.suffix}" if count > 1 else self.stem + self.suffix
            (self.folder / self._part(number)).rename(self.folder / final)
            weight_map |= dict.fromkeys(names, final)
        if count > 1:
            index = {"metadata": {"total_size": self.total}, "weight_map": dict(sorted(weight_map.items()))}
            write_json(self.folder / f"{self.stem}{self.suffix}.index.json", index)

    def _part(self, number: int) -> str:
        return f"{self.stem}-{number:05d}.part"


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of `folder` when all went well; an older one goes only then.

    ValueError when `folder` holds something else than a model.
    """
    if folder.exists() and (folder.is_file() or (any(folder.iterdir()) and not (folder / "config.json").is_file())):
        raise ValueError(f"{folder} holds other things than a model; choose a new folder to save to")
    unfinished, older = folder.with_name(f"{folder.name}.partial"), folder.with_name(f"{folder.name}.old")
    for leftover in (unfinished, older):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(older)
    unfinished.rename(folder)
    shutil.rmtree(older, ignore_errors=True)
