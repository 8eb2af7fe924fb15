# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Kullback-Leibler divergence of class distributions."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ultralytics.distill.values import number, switch

from .response import ClassLoss, standardize


class KL(ClassLoss):
    """Divergence of the class distributions at a temperature, for classes that exclude each other.

    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531, section 2:

        L = tau^2 * mean over images (and positions) of KL(softmax(t / tau) || softmax(s / tau)),

    softmax over the classes. tau^2 keeps the gradient's size when tau changes. Not for sigmoid detectors, where it is
    zero for one class and blind to a shift of all logits: `relative` adds where a class is, `bckd` and `bce` compare
    the scores themselves. Per-image mean: a batch's value is the mean of its images'.

    Args:
        tau (float): Temperature.
        alpha (float): Share of the teacher in the target; the rest are the labels.
        standardize (bool): Both models' logits have mean 0 and deviation 1 over the classes before the temperature, so
            that their order and relative distances alone are compared (Sun et al., arXiv 2403.01427). Of two classes
            only the order is left.
    """

    exclusive = True

    def __init__(self, tau: float = 4.0, alpha: float = 1.0, standardize: bool = False):
        """Check and keep the parameters."""
        super().__init__(alpha)
        self.tau, self.standardize = number("tau", tau, above=0), switch("standardize", standardize)

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the divergence of two dicts with `scores` (N, nc) or (N, nc, H, W)."""
        self.refuse_boxes(student)
        s, t = self.scores(student, teacher)
        if self.standardize:
            s, t = standardize(s, 1), standardize(t, 1)
        q = self.mix((t / self.tau).softmax(1), student)
        count = s.numel() // s.shape[1]
        return F.kl_div((s / self.tau).log_softmax(1), q, reduction="sum") * (self.tau**2 / count)
