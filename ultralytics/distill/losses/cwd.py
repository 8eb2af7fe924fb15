# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Channel-wise distillation."""

from __future__ import annotations

from typing import Any

import torch

from ultralytics.distill.values import choice, number

from .analytic import softmax_kl
from .base import NORMS, Loss


class CWD(Loss):
    """Channel-wise distillation: each channel is a distribution over the positions of its map.

    Shu, Liu, Gao, Yan, Shen, "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021, arXiv 2011.13256,
    equations 4 and 5: phi_c = softmax over H * W of F_c / tau,

        L = tau^2 / (N * C) * sum over images and channels of KL(phi_c(T) || phi_c(S)).

    It is near 1 for independent maps of unit variance, whatever their size. The published settings multiply it by 1 on
    normalised maps (DAMO-YOLO, RTMDet) and by 10 on raw ones; that is the gain's work here. Per-image mean: a batch's
    value is the mean of its images' (with `norm='batch'` the normalisation before it uses the batch's statistics).

    Args:
        tau (float): Temperature.
        norm (str): Normalisation of both maps before the loss; large raw activations saturate the softmax, which
            then has no gradient.
    """

    def __init__(self, tau: float = 1.0, norm: str = "batch"):
        """Check and keep the parameters."""
        super().__init__()
        self.tau = number("tau", tau, above=0)
        self.norm = choice("norm", norm, NORMS)

    def loss(self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the divergence of two maps (N, C, H, W)."""
        self.same_shape(student, teacher)
        n, c = student.shape[:2]
        weight = student.new_full((n, 1, 1), 1 / (n * c))
        return softmax_kl(student.flatten(2), teacher.flatten(2), self.tau, 2, weight)


class CWDMap(CWD):
    """`cwd` of the class maps of semantic segmentation, where its paper, arXiv 2011.13256, has it first.

    Each class's map is a distribution over the positions, so one class is not blind, as under a softmax over classes.
    The paper takes tau = 4 and a gain of 3. Per-image mean: a batch's value is the mean of its images'.

    Args:
        tau (float): Temperature.
    """

    needs_outputs = ("class maps",)

    def __init__(self, tau: float = 4.0):
        """Take logits as they are."""
        super().__init__(tau, norm="none")

    def loss(self, student: Any, teacher: Any, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the divergence of two dicts with `scores` (N, nc, H, W)."""
        return super().loss(*self.both(student, teacher, "scores"), batch)
