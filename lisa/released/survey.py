"""What the files of a checkpoint hold, told before any of it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lisa.released.names import INV_FREQ, LoraName
from sam_bridge import read_tensors


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of weights, and how its names become ours."""

    path: Path
    rename: Callable[[str], str | LoraName | None]
    read: Callable[[Path], dict[str, Tensor]] = read_tensors


@dataclass(kw_only=True)
class Survey:
    """What the files hold; nothing of it is in memory but the LoRA matrices, which are small."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    """Our name -> a tensor on the meta device: shape and type."""
    lora: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Our name of an adapted weight -> its matrices "A" and "B"."""
    inv_freq: dict[str, Any] | None = None
    """Type and values of the rotary frequencies, where they are stored; every layer has the same."""

    def add(self, sources: Iterable[Source]) -> None:
        """Note everything in the files. ValueError for a weight that is there twice."""
        for source in sources:
            for stored, tensor in source.read(source.path).items():
                name = source.rename(stored)
                if stored.endswith(INV_FREQ):
                    self.inv_freq = {"dtype": str(tensor.dtype).removeprefix("torch."), "values": tensor.tolist()}
                if isinstance(name, LoraName):
                    self.lora.setdefault(name.target, {})[name.matrix] = tensor.clone()
                elif name is not None and name in self.weights:
                    raise ValueError(
                        f"{source.path} holds {stored}, which another file of the checkpoint holds too; "
                        "keep the one that belongs to it"
                    )
                elif name is not None:
                    self.weights[name] = torch.empty_like(tensor, device="meta")

    def check_lora(self, source: Path) -> None:
        """Every pair of matrices must be whole and fit the weight that it adapts."""
        for target, pair in self.lora.items():
            weight = self.weights.get(target)
            if pair.keys() != {"A", "B"} or weight is None or not _adapts(pair["A"], pair["B"], weight):
                shapes = {name: tuple(matrix.shape) for name, matrix in pair.items()}
                raise ValueError(f"{source}: the LoRA matrices {shapes} do not fit {target}; is the checkpoint whole?")

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The weights whose names begin with `prefix`, without it."""
        return {name.removeprefix(prefix): w for name, w in self.weights.items() if name.startswith(prefix)}


def _adapts(a: Tensor, b: Tensor, weight: Tensor) -> bool:
    """Whether B A, of some rank, has the shape of the weight."""
    return a.dim() == b.dim() == 2 and b.shape[1] == a.shape[0] > 0 and (b.shape[0], a.shape[1]) == weight.shape
