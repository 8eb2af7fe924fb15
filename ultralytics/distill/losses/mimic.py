# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Feature mimicking."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ultralytics.distill.values import choice

from .base import NORMS, Loss


class Mimic(Loss):
    """Feature mimicking: the mean difference of two maps, squared or absolute.

    Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv 1412.6550,
    equation 3, with the mean in place of half the sum, as DAMO-YOLO's MimicLoss has it:

        L = mean over images, channels and positions of |S - T|^p.

    Per-image mean: a batch's value is the mean of its images' (with `norm='batch'` the normalisation before it uses
    the batch's statistics). Independent maps of unit variance give 2 for p = 2 and 1.13 for p = 1.

    Args:
        p (int): 2 for squared, 1 for absolute differences.
        norm (str): Normalisation of both maps before the loss.
    """

    def __init__(self, p: int = 2, norm: str = "batch"):
        """Check and keep the parameters."""
        super().__init__()
        self.p = choice("p", p, (1, 2))
        self.norm = choice("norm", norm, NORMS)

    def loss(self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the mean difference of two maps (N, C, H, W)."""
        self.same_shape(student, teacher)
        return F.mse_loss(student, teacher) if self.p == 2 else F.l1_loss(student, teacher)
