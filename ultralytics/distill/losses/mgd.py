# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Masked generative distillation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ultralytics.distill.values import choice, number, whole

from .base import NORMS, Loss


class MGD(Loss):
    """Masked generative distillation: from a student's map with random holes, generate the teacher's whole map.

    Yang, Li, Shao, Shi, Yuan, Yuan, "Masked Generative Distillation", ECCV 2022, arXiv 2205.01529, equations 3 to 5:

        L = alpha_mgd / N * sum over images, channels and positions of (G(S * M) - T)^2,

    G = 3x3 conv, ReLU, 3x3 conv, trained along; M zeroes a share `lambda_mgd` of the positions, drawn anew each step
    from torch's generator of the device. The sum is over C * H * W, so large maps weigh more: for unit variance a level
    starts near 2 * alpha_mgd * C * H * W. Per-image mean: a batch's value is the mean of its images', given the mask.
    For backward it keeps three maps, the inputs of G's two convolutions and the error.

    Args:
        alpha_mgd (float): Weight; 2e-5 is the authors' for one-stage detectors.
        lambda_mgd (float): Share of positions that is masked, in [0, 1).
        norm (str): Normalisation of both maps before the loss; the authors use none.
        channels_t (int): Channels of the teacher's map.
    """

    def __init__(self, alpha_mgd: float = 2e-5, lambda_mgd: float = 0.65, norm: str = "none", channels_t: int = 256):
        """Check the parameters and build the generator."""
        super().__init__()
        self.alpha_mgd = number("alpha_mgd", alpha_mgd, above=0)
        self.lambda_mgd = number("lambda_mgd", lambda_mgd, least=0, most=1)
        if self.lambda_mgd == 1:
            raise ValueError("lambda_mgd=1 masks the whole map, use a share below 1")
        self.norm = choice("norm", norm, NORMS)
        c = whole("channels_t", channels_t, least=1)
        self.generator = nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(c, c, 3, padding=1)
        )

    def mask(self, teacher: torch.Tensor) -> torch.Tensor:
        """Draw a mask (N, 1, H, W), 0 where a position is hidden; one mask for all channels."""
        n, _, h, w = teacher.shape
        return (torch.rand(n, 1, h, w, device=teacher.device) >= self.lambda_mgd).to(teacher.dtype)

    def loss(self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the generation error of two maps (N, C, H, W)."""
        self.same_shape(student, teacher)
        error = self.generator(student * self.mask(teacher)) - teacher
        return error.square().sum() * (self.alpha_mgd / len(teacher))
