# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What relation losses share: pooled features and the batch of one."""

from __future__ import annotations

from typing import Any

import torch

from ultralytics.utils import LOGGER

from .base import Loss


class RelationLoss(Loss):
    """A loss between the images of a batch; maps of any width, since only relations are compared."""

    align = False

    def __init__(self) -> None:
        """Note that nothing has been said about small batches yet."""
        super().__init__()
        self.told = False

    def loss(self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the difference of relations, zero for a batch of one."""
        self.same_shape(student, teacher, slice(1))
        if len(student) > 1:
            return self.relation(student, teacher)
        if not self.told:
            LOGGER.warning(
                f"{self.label} relates the images of a batch: of one image it has nothing to compare and is 0."
            )
            self.told = True
        # a sum over nothing: zero whatever the values are, yet part of the graph, as DDP and backward want it
        return sum((p.flatten()[:0].sum() for p in self.parameters()), student.flatten()[:0].sum())

    def relation(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the difference of relations in a batch of two or more; subclasses write this."""
        raise NotImplementedError


def pool(x: torch.Tensor) -> torch.Tensor:
    """Return one vector an image (N, C): the mean over the positions of a map (N, C, H, W), or `x` (N, C) itself."""
    return x.flatten(2).mean(2) if x.ndim > 2 else x
