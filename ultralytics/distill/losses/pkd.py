# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Pearson correlation distillation."""

from __future__ import annotations

from typing import Any

import torch

from .base import Loss

EPS = 1e-5  # as batch normalisation has it: its root bounds the gradient of a constant channel, at 300 times others'


class PKD(Loss):
    """Pearson correlation distillation: the mean squared difference of channels of mean 0 and deviation 1.

    Cao, Zhang, Gao, Cheng, Cheng, Zhang, "PKD: General Distillation Framework for Object Detectors via Pearson
    Correlation Coefficient", NeurIPS 2022, arXiv 2207.02039, equations 2 to 4:

        L = 1/2 * mean over images, channels and positions of (norm(S) - norm(T))^2,

    norm per channel over the batch and all positions. It is 1 minus the mean correlation of the channels, times
    (n - 1) / n with n = N * H * W; so 1 for independent maps. The authors multiply it by 6 (two-stage detectors) to 10
    (one-stage); that is the gain's work. Their features have equal width, ours come through the align layer. Uses
    batch statistics of the (local) batch: a batch's value is not the mean of its images'.
    """

    def loss(self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the distance of two maps (N, C, H, W); zero where a channel has a single value."""
        self.same_shape(student, teacher)
        n = student.numel() // student.shape[1]
        # batch normalisation keeps its input and two numbers a channel for backward; its deviation is the biased one
        s, t = (torch.batch_norm(x, None, None, None, None, True, 0.0, EPS, False) for x in (student, teacher))
        return (s - t).square().mean() * ((1 - 1 / n) / 2)
