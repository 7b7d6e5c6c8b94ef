"""Optimisers: AdamW, and Muon for the matrices of models that are trained from nothing."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

MUON_DECAY = 0.1
"""Muon's steps have a fixed size; without decay, matrices before a norm would grow without bound."""


class SharedMuon(torch.optim.Muon):
    """torch's Muon, whose products (Newton-Schulz) are shared out among the processes that train together.

    Each process steps the matrices of its share and gives them to the others. All keep the momentum of all matrices, so
    that every process holds the whole state. The weights are the same, bit for bit, as those of torch's own step.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        shares = share_out([p for group in self.param_groups for p in group["params"]], world)
        mine = {id(p) for p in shares[rank]}
        others = [
            (p, p.grad, group["momentum"])
            for group in self.param_groups
            for p in group["params"]
            if id(p) not in mine and p.grad is not None
        ]
        for p, gradient, momentum in others:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(gradient)
            self.state[p]["momentum_buffer"].lerp_(gradient, 1 - momentum)
            p.grad = None  # torch's step passes it over
        super().step(closure)
        for p, gradient, _ in others:
            p.grad = gradient
        if world > 1:
            for owner, share in enumerate(shares):
                _give(share, owner)


def share_out(matrices: list[Tensor], count: int) -> list[list[Tensor]]:
    """Matrices in `count` shares that cost about the same: the dearest first, each to who has least to do."""
    shares: list[list[Tensor]] = [[] for _ in range(count)]
    costs = [0] * count
    for matrix in sorted(matrices, key=_cost, reverse=True):
        least = costs.index(min(costs))
        shares[least].append(matrix)
        costs[least] += _cost(matrix)
    return shares


def _cost(matrix: Tensor) -> int:
    """Multiplications of one iteration of Newton-Schulz, in the short side s and the long side l: 2 s^2 l + s^3."""
    short, long = sorted(matrix.shape)
    return 2 * short**2 * long + short**3


def _give(matrices: list[Tensor], owner: int) -> None:
    """Everyone has the owner's matrices afterwards."""
    if matrices:
        whole = parameters_to_vector(matrices)
        dist.broadcast(whole, owner)
        for matrix, values in zip(matrices, whole.split([m.numel() for m in matrices]), strict=True):
            matrix.copy_(values.view_as(matrix))


class MuonAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for weight matrices, AdamW for everything else; two parameter groups."""

    def __init__(self, matrices: list[Tensor], others: list[Tensor], **adamw: Any) -> None:
        self.parts = [
            SharedMuon(matrices, weight_decay=MUON_DECAY),
            torch.optim.AdamW(others, fused=True, **adamw),
        ]
        # The groups are the parts' own, so a scheduler that writes into them reaches the parts.
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    def step(self, closure: Any = None) -> None:
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def skip_not_finite(optimizer: torch.optim.Optimizer) -> None:
    """Make the optimiser leave everything as it is in a step whose gradient is not finite.

    `optimizer.overflow` tells whether it did: DeepSpeed reads it, and holds the schedule then.
    """
    step = optimizer.step

    def checked(closure: Any = None) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        optimizer.overflow = not nn.utils.get_total_norm(gradients).isfinite().item()
        if not optimizer.overflow:
            step()

    optimizer.overflow, optimizer.step = False, checked


def build_optimizer(
    model: nn.Module, name: str, lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """ "adamw" or "muon" over the parameters of `model` that require a gradient.

    Embeddings, vocabulary heads, convolutions, norms and biases are AdamW's in either case.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name == "adamw":
        return torch.optim.AdamW(trained, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
    hidden = {
        id(module.weight)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and not path.endswith("lm_head")
    }
    matrices = [parameter for parameter in trained if id(parameter) in hidden]
    others = [parameter for parameter in trained if id(parameter) not in hidden]
    return MuonAdamW(matrices, others, lr=lr, betas=betas, weight_decay=weight_decay)
