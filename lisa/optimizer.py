"""Optimisers: AdamW, and Muon for the matrices of models that are trained from nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MUON_DECAY = 0.1
"""Muon's steps have a fixed size; without decay, matrices before a norm would grow without bound."""


class MuonAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for weight matrices, AdamW for everything else; two parameter groups."""

    def __init__(self, matrices: list[Tensor], others: list[Tensor], **adamw: Any) -> None:
        self.parts = [
            torch.optim.Muon(matrices, weight_decay=MUON_DECAY),
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
