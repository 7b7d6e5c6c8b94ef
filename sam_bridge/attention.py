"""The attention of SAM's image encoder, computed in pieces on a CPU and by one fused kernel on a GPU.

The package builds the scores of all pairs at once, 0.8 GB for an image of 1024 pixels in ViT-B, and passes over them
six times. In pieces that stay in the processor's cache the same sums need no memory. Positions are channels of queries
and keys there, which is a fifth more products at 1024 pixels and pays all the same (docs/speed.md). Windows that reach
over the image's edge are filled up after the projection to queries, keys and values, not before it: nothing is
multiplied with the zeros there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import (
    Attention,
    Block,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from torch import Tensor

PIECE = 4 << 20
"""Bytes of the scores that are worked on at once on a CPU: about a core's share of its cache."""


def use_fast_attention(encoder: ImageEncoderViT) -> None:
    """Let every block of an encoder attend in the way that is fastest on the device of its input.

    Parameters and their names stay as they are.
    """
    for block in encoder.blocks:
        # The package's modules with another forward: the package builds them, and nothing of it is copied.
        block.__class__, block.attn.__class__ = FastBlock, FastAttention


def use_package_attention(encoder: ImageEncoderViT) -> None:
    """Undo `use_fast_attention`, for comparison."""
    for block in encoder.blocks:
        block.__class__, block.attn.__class__ = Block, Attention


class FastBlock(Block):
    """`segment_anything`'s block, which leaves it to the attention to look through windows: (B, H, W, C) likewise."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), self.window_size)
        return x + self.mlp(self.norm2(x))


class FastAttention(Attention):
    """`segment_anything`'s attention with relative positions: (B, H, W, C) -> (B, H, W, C)."""

    def forward(self, x: Tensor, window: int = 0) -> Tensor:
        """Over the whole image, or in windows of `window` patches."""
        inputs = self.qkv(x)
        if not window:
            return self.proj(self._read(inputs))
        size = x.shape[1:3]
        padded_size = tuple(-(-side // window) * window for side in size)
        if padded_size != size:
            # What the zeros beyond the edge become.
            padded = self.qkv.bias.to(inputs.dtype).expand(len(x), *padded_size, -1).clone()
            padded[:, : size[0], : size[1]] = inputs
            inputs = padded
        windows, _ = window_partition(inputs, window)
        return self.proj(window_unpartition(self._read(windows), window, padded_size, size))

    def _read(self, inputs: Tensor) -> Tensor:
        """What every place reads: (B, H, W, 3 C) queries, keys and values -> (B, H, W, C)."""
        batch, height, width, channels = inputs.shape
        by_head = inputs.view(batch, height * width, 3, self.num_heads, channels // 3 // self.num_heads)
        query, key, value = by_head.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, H W, d) each
        along_y, along_x = self._position_scores(query, height, width)
        attend = _fused if inputs.is_cuda else _in_pieces
        read = attend(query, key, value, along_y, along_x, self.scale)
        return read.transpose(1, 2).reshape(batch, height, width, channels // 3)

    def _position_scores(self, query: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Scores of each query with every row (B, heads, H, W, H) and every column (B, heads, H, W, W)."""
        grid = query.unflatten(2, (height, width))
        rows, columns = get_rel_pos(height, height, self.rel_pos_h), get_rel_pos(width, width, self.rel_pos_w)
        along_y = torch.einsum("bnhwc,hkc->bnhwk", grid, rows)
        return along_y, torch.einsum("bnhwc,wkc->bnhwk", grid, columns)


def _fused(query: Tensor, key: Tensor, value: Tensor, along_y: Tensor, along_x: Tensor, scale: float) -> Tensor:
    """(B, heads, H W, d), with the positions as a bias."""
    bias = along_y[..., :, None] + along_x[..., None, :]  # (B, heads, H, W, H, W)
    bias = bias.flatten(4, 5).flatten(2, 3)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype), scale=scale)


def _in_pieces(query: Tensor, key: Tensor, value: Tensor, along_y: Tensor, along_x: Tensor, scale: float) -> Tensor:
    """(B, heads, H W, d), a few heads or a few rows of queries at a time."""
    batch, heads, height, width, _ = along_y.shape
    query, key = _with_positions(query * scale, key, along_y, along_x)
    query, key, value = (x.reshape(batch * heads, height * width, -1) for x in (query, key, value))
    row_bytes = width * height * width * query.element_size()
    some_rows = min(height, max(1, PIECE // row_bytes))
    some_heads = max(1, PIECE // (row_bytes * some_rows))
    read = []
    for head in range(0, batch * heads, some_heads):
        own = slice(head, head + some_heads)
        keys, values = key[own].transpose(1, 2), value[own]
        pieces = query[own].split(some_rows * width, 1)
        read.append(torch.cat([(piece @ keys).softmax(-1) @ values for piece in pieces], 1))
    return torch.cat(read).unflatten(0, (batch, heads))


def _with_positions(query: Tensor, key: Tensor, along_y: Tensor, along_x: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys (B, heads, H W, d + H + W) whose products are the scores with those of the positions added.

    A key says which row and column it stands in. More products are cheaper than two more passes over the scores, and
    in bf16 the sum is rounded once.
    """
    batch, heads, height, width, _ = along_y.shape
    rows = torch.eye(height, dtype=key.dtype, device=key.device).repeat_interleave(width, 0)
    columns = torch.eye(width, dtype=key.dtype, device=key.device).repeat(height, 1)
    place = torch.cat([rows, columns], -1).expand(batch, heads, -1, -1)
    query = torch.cat([query, along_y.flatten(2, 3), along_x.flatten(2, 3)], -1)
    return query, torch.cat([key, place], -1)
