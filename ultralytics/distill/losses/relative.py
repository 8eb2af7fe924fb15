# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Class scores relative to each other: which class at an anchor, and at which anchors a class."""

from __future__ import annotations

from typing import Any

import torch

from ultralytics.distill.values import number, switch

from .analytic import softmax_kl
from .response import TINY, ClassLoss, confidence, standardize, total


class Relative(ClassLoss):
    """A detector's class logits compared by their differences only, over the classes and over the anchors.

    The first part is Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531,
    section 2, at each anchor: which class is it? The second is Shu, Liu, Gao, Yan, Shen, "Channel-wise Knowledge
    Distillation for Dense Prediction", ICCV 2021, arXiv 2011.13256, equations 4 and 5, over all anchors of an image:
    where is the class? With t and s the logits of teacher and student and softmax over the classes c or anchors a:

        L = tau^2 / Z_w * sum over anchors of w_a * KL(softmax_c(t_a / tau) || softmax_c(s_a / tau))
          + tau^2 / Z_v * sum over images and classes of v_c * KL(softmax_a(t_c / tau) || softmax_a(s_c / tau)),

    w_a = max_c sigmoid(t), v_c = max_a sigmoid(t), Z their sums over the batch, at least 1. One class has the second
    part alone.

    A detector's score also says how well its own box fits, so the right level of the student's scores is not the
    teacher's. Neither part sees it: a number added to all logits changes nothing, and labels alone teach it. Z is a
    statistic of the (local) batch, so a batch's value is not the mean of its images'. Two tensors of the scores' size
    are kept for backward.

    Args:
        tau (float): Temperature.
        alpha (float): Share of the teacher in both distributions; the rest are the assigner's target scores.
        margin (float): Where the weight begins to fall, as `Loss` says; 0 keeps it.
        standardize (bool): Both models' logits have mean 0 and deviation 1 over what the softmax goes over, before the
            temperature (Sun et al., arXiv 2403.01427), so the size of their differences is not seen either. It keeps
            two tensors more.
    """

    needs_outputs = ("classes", "boxes")  # anchors; scores of a whole image are for `kl`

    def __init__(self, tau: float = 1.0, alpha: float = 1.0, margin: float = 0.03, standardize: bool = False):
        """Check and keep the parameters."""
        super().__init__(alpha)
        self.standardize = switch("standardize", standardize)
        self.tau, self.margin = number("tau", tau, above=0), number("margin", margin, least=0, most=1)

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the divergence of two dicts with `scores` (N, nc, A)."""
        s, t = self.scores(student, teacher)
        seen = t.amax(2, keepdim=True).sigmoid()  # (N, nc, 1)
        value = self.divergence(s, t, 2, seen / total(seen), student)
        if t.shape[1] > 1:
            w = confidence(t)[:, None]  # (N, 1, A)
            value = value + self.divergence(s, t, 1, w / total(w), student)
        return value

    def divergence(
        self, s: torch.Tensor, t: torch.Tensor, dim: int, weight: torch.Tensor, student: dict[str, Any]
    ) -> torch.Tensor:
        """Return the weighted divergence of two models' logits (N, nc, A) with the softmax over a dimension."""
        if self.standardize:
            s, t = standardize(s, dim), standardize(t, dim)
        return softmax_kl(s, self.target(t, dim, student), self.tau, dim, weight)

    def target(self, logits: torch.Tensor, dim: int, student: dict[str, Any]) -> torch.Tensor:
        """Return logits whose softmax at the temperature is the target: the teacher's, or mixed with the labels'."""
        if self.alpha == 1:
            return logits
        soft = (logits / self.tau).softmax(dim)
        label = self.need(student, "target_scores", "student's dict")
        shares = {"target_scores": label / label.sum(dim, keepdim=True)}  # not a number where there is no label
        return self.mix(soft, shares).clamp(min=TINY).log() * self.tau
