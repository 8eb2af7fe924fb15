# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Mean squared error of raw predictions."""

from __future__ import annotations

from typing import Any

import torch

from .response import ClassLoss

EDGE = 1e-6  # probabilities are kept this far from 0 and 1 before their logit is taken


class MSE(ClassLoss):
    """Mean squared difference of the raw head outputs, the logit term of the well-known YOLOv8 and YOLO11 tutorials.

        L = 1/4 * sum over levels of mean over images, channels and positions of (S - T)^2,

    S and T one level's box and class outputs together, 4 * reg_max + nc channels, no activation. For classification
    the class logits alone. With `alpha` below 1 the class part's target is the logit of the mixed probability, clamped
    to [1e-6, 1 - 1e-6]; for classification its logarithm, shifted so that alpha = 1 gives the teacher's logits.
    Per-image mean: a batch's value is the mean of its images'.

    Args:
        alpha (float): Share of the teacher in the class target.
    """

    same_grid = True
    bins = "equal"
    upright = True  # the sides of two boxes that are turned differently lie along different axes
    reads = ("scores", "boxes", "target_scores")

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the difference of two dicts with `scores` (N, nc, A), `boxes` (N, 4 * reg_max, A) and `shapes`."""
        s, t = self.scores(student, teacher)
        t = self.target(t, student)
        if s.ndim != 3:  # classes only: one output, no levels
            return (s - t).square().mean() / 4
        sb, tb = self.both(student, teacher, "boxes")
        self.same_shape(sb, tb)
        sizes = [h * w for h, w in self.need(student, "shapes", "student's dict")]
        channels = s.shape[0] * (s.shape[1] + sb.shape[1])
        error = (s - t).square().sum((0, 1)) + (sb - tb).square().sum((0, 1))  # (A,)
        return sum(part.sum() / (channels * k) for part, k in zip(error.split(sizes), sizes)) / 4

    def target(self, t: torch.Tensor, student: dict[str, Any]) -> torch.Tensor:
        """Return the logits that the student's should equal."""
        if self.alpha == 1:
            return t
        if t.ndim == 3 or t.shape[1] == 1:
            return self.mix(t.sigmoid(), student).clamp(EDGE, 1 - EDGE).logit()
        return self.mix(t.softmax(1), student).clamp(min=EDGE).log() + t.logsumexp(1, keepdim=True)
