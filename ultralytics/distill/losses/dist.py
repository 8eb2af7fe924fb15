# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Distillation from a stronger teacher by correlations."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ultralytics.distill.values import number

from .response import ClassLoss

EPS = 1e-6  # a shorter vector counts as constant; far smaller ones would give gradients without bound


class DIST(ClassLoss):
    """Correlation of class probabilities, of the classes within an image and of the images within a class.

    Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, arXiv 2205.10536,
    equations 7 to 10, with the temperature of the authors' code. With y = softmax(logits / tau), rho Pearson's:

        L = tau^2 * (beta * mean over images of (1 - rho(y_S, y_T)) + gamma * mean over classes of (1 - rho(y_S, y_T))).

    1 - rho is computed as half the squared distance of the centred unit vectors: the same, exact near zero, and zero
    where neither side varies (a batch of one, one class). For classes that exclude each other. Uses batch statistics
    where `gamma` is above 0: a batch's value is not the mean of its images'. For backward it keeps five and a half
    tensors of the scores' size, which is small, in exchange for a formula that can be read.

    Args:
        tau (float): Temperature.
        alpha (float): Share of the teacher in the target; the rest are the labels.
        beta (float): Weight of the correlation within images.
        gamma (float): Weight of the correlation within classes.
    """

    exclusive = True

    def __init__(self, tau: float = 1.0, alpha: float = 1.0, beta: float = 1.0, gamma: float = 1.0):
        """Check and keep the parameters."""
        super().__init__(alpha)
        self.tau = number("tau", tau, above=0)
        self.beta = number("beta", beta, least=0)
        self.gamma = number("gamma", gamma, least=0)

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the distance of two dicts with `scores` (N, nc) or (N, nc, H, W), where each position is an image."""
        self.refuse_boxes(student)
        s, t = self.scores(student, teacher)
        y_s = (s / self.tau).softmax(1)
        y_t = self.mix((t / self.tau).softmax(1), student)
        y_s, y_t = (y.movedim(1, -1).flatten(0, -2) for y in (y_s, y_t))  # (N, nc)
        return self.tau**2 * (self.beta * uncorrelated(y_s, y_t, 1) + self.gamma * uncorrelated(y_s, y_t, 0))


def uncorrelated(a: torch.Tensor, b: torch.Tensor, dim: int) -> torch.Tensor:
    """Return 1 minus the mean Pearson correlation of two matrices along `dim`."""
    a, b = (F.normalize(x - x.mean(dim, keepdim=True), dim=dim, eps=EPS) for x in (a, b))
    return (a - b).square().sum(dim).mean() / 2
