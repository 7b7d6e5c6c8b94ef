"""Folders of weights: which files, and writing them shard by shard."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

SUFFIXES = (".safetensors", ".bin")
"""Kinds of weights, the preferred one first."""


def read_json(path: Path) -> dict:
    """A JSON object; FileNotFoundError or ValueError name the file."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}; copy the whole folder of the checkpoint")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); download it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object; download it again")
    return content


def weight_files(path: Path) -> list[Path]:
    """The files of a checkpoint, in order: one file, or what a folder's index lists, or all of its weights.

    safetensors are preferred to .bin. FileNotFoundError names a file that the index lists and that is not there.
    """
    if path.is_file():
        return [path]
    for suffix in SUFFIXES:
        for index in sorted(path.glob(f"*{suffix}.index.json")):
            names = sorted(set(read_json(index).get("weight_map", {}).values()))
            lost = [name for name in names if not (path / name).is_file()]
            if lost:
                raise FileNotFoundError(
                    f"{path} lacks {', '.join(lost)}, which {index.name} lists; copy the whole folder"
                )
            if names:
                return [path / name for name in names]
        files = sorted(file for file in path.glob(f"*{suffix}") if file.name != "training_args.bin")
        if files:
            return files
    raise FileNotFoundError(
        f"{path} holds no weights (*.safetensors or *.bin); copy the whole folder of the checkpoint"
    )


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


def write_json(path: Path, content: dict) -> None:
    """As transformers writes its config files."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
    yield unfinished
    if folder.exists():
        folder.rename(older)
    unfinished.rename(folder)
    shutil.rmtree(older, ignore_errors=True)
