# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Cross-head distillation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .bckd import BCKD
from .pkd import EPS


class CrossKD(BCKD):
    """Cross-head distillation: the student's class features go through the rest of the teacher's class branch.

    Wang, Chen, Zheng, Li, Cheng, Hou, "CrossKD: Cross-Head Knowledge Distillation for Object Detection", CVPR 2024,
    arXiv 2306.11369, equations 4 and 5. The predictions that the frozen branch makes of them are compared with the
    teacher's own, so the student is spared the conflict between the teacher and its labels. With p the sigmoid of these
    cross predictions, q of the teacher's:

        L = 1 / Z * sum over anchors and classes of |q - p|^beta * BCE(p, q),

    Z as in `bckd`. Before, each channel of the student's features gets the teacher's mean and standard deviation, as
    in the authors' code; features of another width come through a 1x1 convolution as `align.py` has it. Boxes have `ld`
    and `giou`. Uses batch statistics (the channels' and Z's): a batch's value is not the mean of its images'. For
    backward it keeps what the frozen branch needs for the gradient of its input.

    Args:
        beta (float): Exponent of the disagreement, at least 1.
        norm (str): 'conf' or 'npos', what the sum is divided by.
        alpha (float): Share of the teacher in the target; the rest are the assigner's target scores.
    """

    needs_head = True
    needs_outputs = ("classes", "boxes")  # only detection heads have the branch
    reads = ("scores", "target_scores", "head")

    def __init__(self, beta: float = 1.0, norm: str = "conf", alpha: float = 1.0):
        """Check and keep the parameters; the student's own scores are not drawn, so their margin says nothing here."""
        super().__init__(beta, norm, alpha, margin=0)

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the disagreement of two dicts with `head`, class features (N, C, H, W) of one width level by level.

        The teacher's has `tail` too, the frozen modules that follow, level by level, and `scores` (N, nc, A).
        """
        heads = self.both(student, teacher, "head")
        t, tails = (self.need(teacher, key, "teacher's dict") for key in ("scores", "tail"))
        if not len(heads[0]) == len(heads[1]) == len(tails):
            raise ValueError(
                f"crosskd needs a branch for each level, got {len(tails)} for {[len(x) for x in heads]} levels"
            )
        cross = torch.cat([self.cross(a, b, m).flatten(2) for a, b, m in zip(*heads, tails)], 2)
        self.same_shape(cross, t)
        return self.divergence(cross, self.mix(t.sigmoid(), student)) / self.count(t, student)

    def cross(self, student: torch.Tensor, teacher: torch.Tensor, tail: nn.Module) -> torch.Tensor:
        """Return the class logits (N, nc, H, W) that the teacher's branch makes of the student's features."""
        self.same_shape(student, teacher)
        var, mean = torch.var_mean(teacher, (0, 2, 3), correction=0)
        # batch normalisation with the teacher's numbers as its affine part keeps nothing but its input for backward
        x = torch.batch_norm(student, (var + EPS).sqrt(), mean, None, None, True, 0.0, EPS, False)
        weight = next(tail.parameters(), x)  # a teacher in 16 bits has its branch in 16 bits
        return tail(x.to(weight.dtype)).to(x.dtype)
