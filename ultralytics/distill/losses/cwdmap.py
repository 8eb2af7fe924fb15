# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Channel-wise distillation of class maps."""

from __future__ import annotations

from typing import Any

import torch

from ultralytics.distill.values import number

from .analytic import softmax_kl
from .base import Loss


class CWDMap(Loss):
    """Channel-wise distillation of semantic segmentation: each class's map is a distribution over the positions.

    Shu, Liu, Gao, Yan, Shen, "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021, arXiv 2011.13256,
    equations 4 and 5, on the logits, where the paper has it first: phi_c = softmax over H * W of z_c / tau,

        L = tau^2 / (N * C) * sum over images and classes of KL(phi_c(T) || phi_c(S)).

    Not blind for one class, as a softmax over classes is. The paper takes tau = 4 and a gain of 3. Per-image mean: a
    batch's value is the mean of its images'. One tensor of the scores' size is kept for backward.

    Args:
        tau (float): Temperature.
    """

    needs_outputs = ("class maps",)

    def __init__(self, tau: float = 4.0):
        """Check and keep the temperature."""
        super().__init__()
        self.tau = number("tau", tau, above=0)

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the divergence of two dicts with `scores` (N, nc, H, W)."""
        s, t = self.need(student, "scores", "student's dict"), self.need(teacher, "scores", "teacher's dict")
        self.same_shape(s, t)
        n, c = s.shape[:2]
        return softmax_kl(s.flatten(2), t.flatten(2), self.tau, 2, 1 / (n * c))
