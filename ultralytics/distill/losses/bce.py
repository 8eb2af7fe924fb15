# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Binary cross-entropy to the teacher's probabilities."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .response import ClassLoss, confidence, total


class BCE(ClassLoss):
    """Binary cross-entropy of every class at every anchor, less the teacher's entropy: the binary divergence.

    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531, for classes that do
    not exclude each other. With p = sigmoid of the student, q of the teacher:

        L = 1 / Z * sum over anchors and classes of BCE(p, q) - H(q).

    The entropy H(q) does not depend on the student; without it the value at equality is far from zero and tells
    nothing. Z is the sum over the batch's anchors of the teacher's confidence max_c q, at least 1: a statistic of the
    (local) batch, so a batch's value is not the mean of its images'. For classification, scores (N, nc), Z is N and
    it is. One tensor of the scores' size is kept for backward.

    Args:
        alpha (float): Share of the teacher in the target; the rest are the labels.
    """

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the divergence of two dicts with `scores` (N, nc, A) or (N, nc)."""
        s, t = self.scores(student, teacher)
        q = self.mix(t.sigmoid(), student)
        entropy = -(torch.xlogy(q, q) + torch.xlogy(1 - q, 1 - q)).sum()
        z = len(t) if t.ndim == 2 else total(confidence(t))
        return (F.binary_cross_entropy_with_logits(s, q, reduction="sum") - entropy) / z
