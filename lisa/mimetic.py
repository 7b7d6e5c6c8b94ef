"""A start for vision transformers that have to learn to see from little data.

Trained ones have attention whose query-key product is near the identity and whose value-output product is near
its negative, over positions that look like sines and cosines. Starting there, attention is local from the first
step, which a plain random start has to discover (Trockman and Kolter 2023, "Mimetic Initialization of
Self-Attention Layers").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


@torch.no_grad()
def mimetic_start(tower: nn.Module) -> None:
    """Set attention and, where they are learned, positions of a tower in place; draws from torch's generator."""
    if hasattr(tower, "embeddings"):
        positions = tower.embeddings.position_embedding.weight  # (P, C), or (1 + P, C) with a class token first
        side = math.isqrt(len(positions))
        positions[-(side**2) :] = sine_positions(side, positions.shape[1])
    for layer in tower.modules():
        if hasattr(layer, "q_proj"):
            _mimetic_attention(layer.num_heads, *(part.weight for part in _parts(layer)))
        elif hasattr(layer, "qkv"):
            _mimetic_attention(layer.num_heads, *layer.qkv.weight.chunk(3), layer.proj.weight)


def _parts(layer: nn.Module) -> tuple[nn.Linear, ...]:
    return layer.q_proj, layer.k_proj, layer.v_proj, layer.out_proj


def sine_positions(side: int, width: int) -> Tensor:
    """(side * side, width): sines and cosines of column and row, a quarter of the width each."""
    frequencies = 1 / 100 ** (torch.arange(width // 4) / (width // 4))
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    phases = [axis.reshape(-1, 1) * frequencies for axis in (columns, rows)]
    return torch.cat([wave(phase) for phase in phases for wave in (torch.sin, torch.cos)], dim=1)


def _mimetic_attention(heads: int, query: Tensor, key: Tensor, value: Tensor, out: Tensor) -> None:
    """Matrices (C, C), set by the paper's constants: 0.7 identity and 0.7 noise for query-key, -0.4 and 0.4 for
    value-output."""
    width = query.shape[1]
    for head in range(heads):
        rows = slice(head * width // heads, (head + 1) * width // heads)
        left, right = _square_roots(_near_identity(width, noise=0.7, identity=0.7))
        query[rows] = left.T[: width // heads]
        key[rows] = right.T[: width // heads]
    left, right = _square_roots(_near_identity(width, noise=0.4, identity=-0.4))
    value.copy_(right.T)
    out.copy_(left)


def _near_identity(width: int, noise: float, identity: float) -> Tensor:
    return noise * torch.randn(width, width) / width**0.5 + identity * torch.eye(width)


def _square_roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """L and R of shape (C, C) with L R^T = matrix, columns by falling singular value."""
    left, values, right = torch.linalg.svd(matrix)
    return left * values.sqrt(), right.T * values.sqrt()
