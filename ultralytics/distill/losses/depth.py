# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Depth maps."""

from __future__ import annotations

from typing import Any

import torch

from ultralytics.distill.values import number

from .base import Loss


class Depth(Loss):
    """Absolute difference of log depth, and of its slopes.

    With e the student's log depth less the teacher's, and dx, dy the differences of neighbours along a row and a
    column:

        L = mean |e| + slope * (mean |dx e| + mean |dy e|).

    The slopes keep edges sharp, as the gradient matching of MiDaS does (Ranftl, Lasinger, Hafner, Schindler, Koltun,
    "Towards Robust Monocular Depth Estimation", TPAMI 2022, arXiv 1907.01341, equation 11), here at one scale and on
    log depth, as the task's own loss. Per-image mean: a batch's value is the mean of its images'. Three maps are kept
    for backward.

    Args:
        slope (float): Weight of the slopes.
    """

    reads = ("log_depth",)
    needs_outputs = ("depth",)

    def __init__(self, slope: float = 1.0):
        """Check and keep the weight."""
        super().__init__()
        self.slope = number("slope", slope, least=0)

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the difference of two dicts with `log_depth` (N, 1, H, W)."""
        s, t = self.both(student, teacher, "log_depth")
        self.same_shape(s, t)
        error = s - t
        slopes = [d.abs().mean() for d in (error.diff(dim=3), error.diff(dim=2)) if d.numel()]
        return error.abs().mean() + self.slope * sum(slopes)
