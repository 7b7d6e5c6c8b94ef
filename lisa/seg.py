"""From [SEG] to prompt embeddings: where it is predicted, its states, and the projection."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lisa.packing import Rows


def seg_positions(rows: Rows, seg_token_id: int, seg_state: str) -> Tensor:
    """(R, L) bool: true where the state of each [SEG] is read.

    "before": one step before [SEG], the state that predicts it; "at": at [SEG] itself. Only [SEG] that the
    assistant says counts, that is, where there is a label.
    """
    is_seg = rows.labels == seg_token_id
    if seg_state == "at":
        return is_seg
    return torch.cat([is_seg[:, 1:], torch.zeros_like(is_seg[:, :1])], dim=1)


def gather_seg_states(hidden: Tensor, positions: Tensor) -> Tensor:
    """The states of each [SEG] in reading order: (S, D); S may be 0.

    hidden is (R, L, D) after the final norm; positions (R, L) comes from `seg_positions`.
    """
    return hidden[positions]


def image_of_seg(rows: Rows, positions: Tensor) -> Tensor:
    """(S,) int64: the image that each [SEG] is about, in reading order."""
    return rows.image_of_row.repeat_interleave(positions.sum(dim=1))


def split_by_image(prompts: Tensor, image_of: Tensor, num_images: int) -> list[Tensor]:
    """(S, ...) -> one tensor (N_b, ...) for each image, in order; N_b may be 0."""
    return list(prompts.split(torch.bincount(image_of, minlength=num_images).tolist()))


def build_text_hidden_fcs(width: int, prompt_width: int) -> nn.Module:
    """Linear, ReLU, Linear: states (S, D) -> prompt embeddings (S, E).

    The nesting and the dropout of rate 0 give the parameters the names they have in released checkpoints.
    """
    layers = [nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, prompt_width), nn.Dropout(0.0)]
    return nn.ModuleList([nn.Sequential(*layers)])
