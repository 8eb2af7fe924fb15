# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Pearson correlation distillation."""

from __future__ import annotations

from typing import Any

import torch

from .base import Loss

EPS = (
    1e-5  # as batch normalisation has it: its root bounds the gradient of a constant channel, at 300 times the others'
)


def standardise(x: torch.Tensor) -> torch.Tensor:
    """Give each channel of a map (N, C, H, W) mean 0 and standard deviation 1 over images and positions.

    The deviation is the unbiased one. Through batch normalisation, which keeps its input and two numbers a channel for
    backward; its epsilon keeps constant channels at zero.
    """
    n = x.numel() // x.shape[1]
    return torch.batch_norm(x, None, None, None, None, True, 0.0, EPS, False) * (1 - 1 / n) ** 0.5


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
        return (standardise(student) - standardise(teacher)).square().mean() / 2
