# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Localisation distillation."""

from __future__ import annotations

from typing import Any

import torch

from ultralytics.distill.values import number

from .analytic import softmax_kl
from .base import Loss
from .response import TINY, along_sides, confidence, rebin, total


class LD(Loss):
    """Localisation distillation: the bins of each box side are a distribution over distances.

    Zheng, Ye, Wang, Ren, Zuo, Hou, Cheng, "Localization Distillation for Dense Object Detection", CVPR 2022,
    arXiv 2102.12252, equation 4. With z the logits of one side's bins:

        L = 1 / Z * sum over anchors of w_a * mean over 4 sides of tau^2 * KL(softmax(z_T / tau) || softmax(z_S / tau)),

    the divergence summed over bins. Where the paper takes the positive anchors and tau = 10, here every anchor counts
    with the teacher's confidence w_a = max_c sigmoid(scores_T), Z = max(sum of w_a over the batch, 1), and tau = 1.
    Where the teacher sees larger or smaller images, or has more or fewer bins, its distribution is brought to the
    student's bins: a distance of 6 in units of half the length is one of 3, one of 7 half 3 and half 4.
    Z is a statistic of the (local) batch, so a batch's value is not the mean of its images'. One tensor of the boxes'
    size is kept for backward.

    Args:
        tau (float): Temperature.
        margin (float): Where the weight begins to fall, as `Loss` says; 0 keeps it.
    """

    bins = "several"
    upright = True  # the sides of two boxes that are turned differently lie along different axes
    reads: tuple[str, ...] = ("scores", "boxes")
    needs_outputs = ("classes", "boxes")

    def __init__(self, tau: float = 1.0, margin: float = 0.03):
        """Check and keep the parameters."""
        super().__init__()
        self.tau, self.margin = number("tau", tau, above=0), number("margin", margin, least=0, most=1)

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the divergence of two dicts with `boxes` (N, 4 * reg_max, A); the teacher's has `scores` too."""
        s, t = self.both(student, teacher, "boxes")
        if s.shape[1] == 4 or t.shape[1] == 4:
            raise ValueError("ld compares the bins of box sides and a head here has reg_max=1, use giou instead")
        s, t = s.unflatten(1, (4, -1)), t.unflatten(1, (4, -1))  # (N, 4, reg_max, A)
        if "scale" in teacher or t.shape[2] != s.shape[2]:
            t = self.convert(t, s.shape[2], teacher)
        self.same_shape(s, t)
        w = confidence(self.need(teacher, "scores", "teacher's dict"))  # (N, A)
        weight = (w / (4 * total(w)))[:, None, None]
        return softmax_kl(s, t, self.tau, 2, weight)

    def convert(self, logits: torch.Tensor, bins: int, teacher: dict[str, Any]) -> torch.Tensor:
        """Return logits whose softmax at the temperature is the teacher's distribution, on the student's bins."""
        share = (logits / self.tau).softmax(2)
        share = rebin(share, bins, *(along_sides(teacher) if "scale" in teacher else ()))
        return share.clamp(min=TINY).log() * self.tau
