# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Binary classification distillation."""

from __future__ import annotations

from typing import Any

import torch

from ultralytics.distill.values import choice, number

from .analytic import focal_bce, weighted_bce
from .response import ClassLoss, confidence, total


class BCKD(ClassLoss):
    """Binary classification distillation: every class of every anchor is a yes or no, weighted by the disagreement.

    Yang, Zhou, Li, Chen, Zhang, "Bridging Cross-task Protocol Inconsistency for Distillation in Dense Object
    Detection", ICCV 2023, arXiv 2308.14286, equations 4 to 6. With p = sigmoid of the student, q of the teacher:

        L = 1 / Z * sum over anchors and classes of |q - p|^beta * BCE(p, q),

    zero where p = q. The gradient goes through |q - p| too, as in the authors' code. Here Z is the sum over the batch's
    anchors of the teacher's confidence max_c q, at least 1, which needs no labels; the paper's Z, the number of
    positive anchors, is `norm='npos'`. Z is a statistic of the (local) batch, so a batch's value is not the mean of
    its images'; for classification, scores (N, nc), Z is N and it is. One tensor of the scores' size is kept for
    backward.

    `beta=0` has no factor and is the binary divergence, BCE(p, q) - H(q). The entropy H(q) does not depend on the
    student; without it the value at equality is far from zero and tells nothing.

    Args:
        beta (float): Exponent of the disagreement, 0 or at least 1; between them its gradient has no bound.
        norm (str): 'conf' or 'npos', what the sum is divided by.
        alpha (float): Share of the teacher in the target; the rest are the assigner's target scores.
        margin (float): Where the weight begins to fall, as `Loss` says; 0 keeps it.
    """

    def __init__(self, beta: float = 1.0, norm: str = "conf", alpha: float = 1.0, margin: float = 0.03):
        """Check and keep the parameters."""
        super().__init__(alpha)
        self.beta = number("beta", beta, least=1 if beta else 0)
        self.norm, self.margin = choice("norm", norm, ("conf", "npos")), number("margin", margin, least=0, most=1)
        self.needs_labels = norm == "npos"
        self.needs_targets = self.needs_targets or self.needs_labels

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the disagreement of two dicts with `scores` (N, nc, A)."""
        s, t = self.scores(student, teacher)
        return self.divergence(s, self.mix(t.sigmoid(), student)) / self.count(t, student)

    def divergence(self, scores: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum for logits and the target's probabilities, of one shape."""
        return focal_bce(scores, q, self.beta) if self.beta else weighted_bce(scores, q, q.new_ones(()).expand_as(q))

    def count(self, scores: torch.Tensor, student: dict[str, Any]) -> torch.Tensor | int:
        """Return Z for the teacher's logits."""
        if scores.ndim == 2:
            return len(scores)
        if self.norm == "npos":
            return total(self.need(student, "fg_mask", "student's dict"))
        return total(confidence(scores))


class BCE(BCKD):
    """`bckd(beta=0)` under the name of its first version, with its whole weight while the teacher is behind.

    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531, for classes that do
    not exclude each other. Z is a statistic of the (local) batch, so a batch's value is not the mean of its images'.

    Args:
        alpha (float): Share of the teacher in the target; the rest are the labels.
    """

    def __init__(self, alpha: float = 1.0):
        """Fix the exponent and the margin."""
        super().__init__(beta=0, alpha=alpha, margin=0)
