"""Gradients of ZeRO in one order on all processes.

ZeRO fills a buffer with gradients as they arrive and averages the buffers of all processes place by place. Where one
process has another graph than the next (a batch without [SEG] skips the mask decoder), they arrive in another order,
and gradients of different parameters would be averaged (github.com/deepspeedai/DeepSpeed/issues/2343).
"""

from __future__ import annotations

from torch import nn


class OrderedReduction:
    """Hands each gradient on when all before it, in an order that all processes share, have been handed on.

    Each parameter must get a gradient in every backward pass (`lisa.objective.reach_all`).
    """

    def __init__(self, optimizer) -> None:
        self._hand_on = optimizer.process_gradients
        groups = enumerate(optimizer.bit16_groups)
        # The last parameters are used last, and have their gradients first.
        self._order = [(parameter, group) for group, own in groups for parameter in own][::-1]
        self._arrived: set[int] = set()
        self._next = 0
        optimizer.process_gradients = self._arrive

    def _arrive(self, parameter: nn.Parameter, group: int) -> None:
        self._arrived.add(id(parameter))
        while self._next < len(self._order) and id(self._order[self._next][0]) in self._arrived:
            self._hand_on(*self._order[self._next])
            self._next += 1
        if self._next == len(self._order):
            self._arrived.clear()
            self._next = 0
