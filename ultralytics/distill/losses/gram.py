# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Gram matrices of channels."""

from __future__ import annotations

from typing import Any

import torch

from ultralytics.distill.values import choice

from .base import NORMS, Loss


class Gram(Loss):
    """Gram distance: which channels are active together, wherever that is.

    After Yim, Joo, Bae, Kim, "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer
    Learning", CVPR 2017, equations 1 and 2, with one layer in place of two and C^2 divided out:

        G = F F^T / (H * W), F (C, H * W);    L = mean over images of ||G_S - G_T||_F^2 / C^2.

    Per-image mean: a batch's value is the mean of its images' (with `norm='batch'` the normalisation before it uses
    the batch's statistics). N * C^2 numbers are kept for backward.

    Args:
        norm (str): Normalisation of both maps before the loss; without it the value grows with the fourth power of
            the activations.
    """

    def __init__(self, norm: str = "batch"):
        """Check and keep the parameter."""
        super().__init__()
        self.norm = choice("norm", norm, NORMS)

    def loss(self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the distance of two maps (N, C, H, W)."""
        self.same_shape(student, teacher)
        return (gram(student) - gram(teacher)).square().mean()


def gram(x: torch.Tensor) -> torch.Tensor:
    """Return the Gram matrices (N, C, C) of a map (N, C, H, W), divided by its number of positions."""
    x = x.flatten(2)
    return x @ x.transpose(1, 2) / x.shape[2]
