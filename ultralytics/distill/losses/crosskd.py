# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Cross-head distillation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .base import Loss
from .bckd import BCKD
from .giou import GIoU
from .ld import LD
from .pkd import EPS


class Cross(Loss):
    """Puts what the teacher's layers make of the student's features in the place of the student's own predictions.

    Wang, Chen, Zheng, Li, Cheng, Hou, "CrossKD: Cross-Head Knowledge Distillation for Object Detection", CVPR 2024,
    arXiv 2306.11369, equations 4 and 5. These cross predictions of the frozen layers are compared with the teacher's
    own, by the loss that stands behind this class, so the student's own layers are spared the conflict between the
    teacher and its labels. Before, each channel of the student's features gets the teacher's mean and standard
    deviation, as in the authors' code; features of another width come through a 1x1 convolution as `align.py` has it.
    The student's own predictions are not drawn, so how far they are from the labels says nothing here: no margin.

    Cross boxes have the teacher's bins, and the teacher's angle where boxes are rotated, so neither need be equal.
    Where the teacher sees images of another size they are taken to be in its cells, from the student's anchors.
    """

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the loss of two dicts with `head`, features (N, C, H, W) of one width level by level.

        The teacher's has `tail` too, the frozen modules that follow, level by level, and its own predictions.
        """
        heads = self.both(student, teacher, "head")
        tails = self.need(teacher, "tail", "teacher's dict")
        if not len(heads[0]) == len(heads[1]) == len(tails):
            raise ValueError(
                f"{self.label} needs a branch for each level, got {len(tails)} for {[len(x) for x in heads]} levels"
            )
        cross = torch.cat([self.cross(a, b, m).flatten(2) for a, b, m in zip(*heads, tails)], 2)
        if "scale" in teacher:
            scale = teacher["scale"]
            teacher = {**teacher, "scale": torch.ones_like(scale), "shift": teacher["shift"] / scale}
        key = "boxes" if self.needs_head == "boxes" else "scores"
        return super().loss({**student, key: cross}, teacher, batch)

    def cross(self, student: torch.Tensor, teacher: torch.Tensor, tail: nn.Module) -> torch.Tensor:
        """Return the raw predictions (N, channels, H, W) that the teacher's layers make of the student's features."""
        self.same_shape(student, teacher)
        var, mean = torch.var_mean(teacher, (0, 2, 3), correction=0)
        # batch normalisation with the teacher's numbers as its affine part keeps nothing but its input for backward
        x = torch.batch_norm(student, (var + EPS).sqrt(), mean, None, None, True, 0.0, EPS, False)
        weight = next(tail.parameters(), x)  # a teacher in 16 bits has its branch in 16 bits
        return tail(x.to(weight.dtype)).to(x.dtype)


class CrossKD(Cross, BCKD):
    """Cross-head distillation of classes: the student's features go through the rest of the teacher's class layers.

    Wang et al., arXiv 2306.11369, as `Cross` says. With p the sigmoid of the cross predictions, q of the teacher's:

        L = 1 / Z * sum over anchors and classes of |q - p|^beta * BCE(p, q),

    Z as in `bckd`. Uses batch statistics (the channels' and Z's): a batch's value is not the mean of its images'. For
    backward it keeps what the frozen layers need for the gradient of their input.

    Args:
        beta (float): Exponent of the disagreement, at least 1.
        norm (str): 'conf' or 'npos', what the sum is divided by.
        alpha (float): Share of the teacher in the target; the rest are the assigner's target scores.
    """

    needs_head = "classes"
    needs_outputs = ("classes", "boxes")  # only detection heads have such layers
    reads = ("scores", "target_scores", "head")

    def __init__(self, beta: float = 1.0, norm: str = "conf", alpha: float = 1.0):
        """Check and keep the parameters."""
        super().__init__(beta, norm, alpha, margin=0)


class CrossLD(Cross, LD):
    """Cross-head distillation of box sides: `ld` of the boxes that the teacher's layers make of the student's features.

    Wang et al., arXiv 2306.11369, as `Cross` says, and `LD`. Only the teacher needs bins. The authors weigh it by 4
    beside `crosskd`, in later code by 3 with overlap as well, by 2. Uses batch statistics (the channels' and Z's): a
    batch's value is not the mean of its images'. For backward it keeps what the frozen layers need for the gradient of
    their input, and one tensor of the boxes' size.

    Args:
        tau (float): Temperature.
    """

    needs_head = "boxes"
    reads = (*LD.reads, "head")

    def __init__(self, tau: float = 1.0):
        """Check and keep the parameter."""
        super().__init__(tau, margin=0)


class CrossGIoU(Cross, GIoU):
    """Cross-head distillation of boxes: `giou` of the boxes that the teacher's layers make of the student's features.

    Wang et al., arXiv 2306.11369, as `Cross` says, and `GIoU`; with bins or without. The authors compare boxes so in
    heads without bins, by a weight of 1 beside `crosskd`. Uses batch statistics (the channels' and Z's): a batch's
    value is not the mean of its images'. For backward it keeps what the frozen layers need for the gradient of their
    input, and what `giou` keeps.
    """

    needs_head = "boxes"
    reads = (*GIoU.reads, "head")

    def __init__(self) -> None:
        """Take no parameter."""
        super().__init__(margin=0)
