"""What the processes that train together agree on, beside gradients."""

from __future__ import annotations

import json
import secrets
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from lisa.arguments import TrainArgs
from lisa.resume_flags import changed_flags

OWN = ("local_rank", "workers", "print_freq", "profile")
"""Flags that need not be the same in all processes."""
PATIENCE = 10.0
"""Seconds after which a network disk shows what another machine wrote."""


class Ranks:
    """Rank and number of the processes, and answers that are the same in all of them.

    On the CPU, where the others are on GPUs in a group of its own: to ask does not make anyone wait for a GPU.
    """

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        own = world > 1 and dist.get_backend() != "gloo"
        self.group = dist.new_group(backend="gloo") if own else None

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        if self.world == 1:
            return here
        seen = torch.tensor([float(here)])
        dist.all_reduce(seen, dist.ReduceOp.MAX, group=self.group)
        return bool(seen.item())

    def of_first(self, value: Any) -> Any:
        """The value that the first process has."""
        box = [value]
        if self.world > 1:
            dist.broadcast_object_list(box, src=0, group=self.group, device=torch.device("cpu"))
        return box[0]

    def all(self, value: Any) -> list[Any]:
        """The value of each process, by rank."""
        values = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value, group=self.group)
        return values


def check_alike(ranks: Ranks, args: TrainArgs) -> None:
    """Refuse processes that were started with other flags, or that do not see the run's folder on one disk."""
    if ranks.world == 1:
        return
    first, *others = ranks.all({name: str(value) for name, value in asdict(args).items() if name not in OWN})
    for rank, flags in enumerate(others, start=1):
        if changed := changed_flags(first, flags, list(first)):
            raise ValueError(f"process {rank} was started with {', '.join(changed)}: give all processes the same flags")
    where = ranks.all((socket.gethostname(), _sees_token(ranks, args.run_dir)))
    blind = [f"process {rank} on {host}" for rank, (host, sees) in enumerate(where) if not sees]
    if blind:
        raise ValueError(
            f"{', '.join(blind)} of {ranks.world} does not see the folder {args.run_dir.absolute()} of the "
            f"first process, on {where[0][0]}: --log_base_dir must be on a disk that all machines share"
        )


def _sees_token(ranks: Ranks, folder: Path) -> bool:
    """Whether this process reads what the first one just wrote."""
    token = ranks.of_first(secrets.token_hex(8))
    path = folder / ".shared"
    if ranks.rank == 0:
        path.write_text(json.dumps(token), encoding="utf-8")
    ranks.any(False)  # it is written
    deadline, seen = time.monotonic() + PATIENCE, False
    while not seen and time.monotonic() < deadline:
        seen = path.exists() and path.read_text(encoding="utf-8") == json.dumps(token)
        if not seen:
            time.sleep(0.1)
    ranks.any(False)  # all have looked
    if ranks.rank == 0:
        path.unlink()
    return seen
