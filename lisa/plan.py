"""Where the things that a loss reads stand in the rows of a batch.

To look for them on a GPU would make every step wait for the answer; they are found where the batch is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lisa.attention import Layout
from lisa.packing import Rows
from lisa.seg import image_of_seg, seg_positions
from lisa.tokenization import IGNORE_INDEX


@dataclass(frozen=True, kw_only=True)
class Plan:
    """B images, N tokens in the line of the layout, M labelled ones, S [SEG]."""

    layout: Layout
    learned: Tensor
    """(M,) int64: the token of the line that predicts each labelled one, in reading order."""
    words: Tensor
    """(M,) int64: the labelled ones."""
    seg: Tensor
    """(S,) int64: the token of the line whose state is read for each [SEG], in reading order."""
    image_of: Tensor
    """(S,) int64: the image of each [SEG]."""
    images: Tensor
    """(B',) int64: the images that have a [SEG]."""
    row_of: Tensor
    """(S,) int64: which of those each [SEG] is about."""
    masks_per_image: tuple[int, ...]
    """B numbers of [SEG]."""

    @classmethod
    def of(cls, rows: Rows, num_images: int, seg_token_id: int, seg_state: str, pictures: bool = True) -> Plan:
        """The plan of rows about so many images; [SEG] as `seg_positions` reads it.

        Without `pictures` only words are read.
        """
        layout = Layout.of(rows, pictures)
        in_line = torch.zeros_like(rows.labels).flatten()
        in_line[layout.places] = torch.arange(len(layout.places), device=in_line.device)
        in_line = in_line.view_as(rows.labels)
        is_label = rows.labels[:, 1:] != IGNORE_INDEX
        positions = seg_positions(rows, seg_token_id, seg_state)
        image_of = image_of_seg(rows, positions)
        images, row_of = torch.unique(image_of, return_inverse=True)
        return cls(
            layout=layout,
            learned=in_line[:, :-1][is_label],
            words=rows.labels[:, 1:][is_label],
            seg=in_line[positions],
            image_of=image_of,
            images=images,
            row_of=row_of,
            masks_per_image=tuple(torch.bincount(image_of, minlength=num_images).tolist()),
        )
