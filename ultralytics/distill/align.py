# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Fits a student map to a teacher map before a loss compares them: width, size and norm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

NORMS = ("none", "batch", "instance")


class Align(nn.Module):
    """Makes two maps comparable.

    The student is projected to the teacher's width by a 1x1 convolution without bias where the widths differ (FitNets,
    arXiv 1412.6550, section 2.2, as RTMDet and DAMO-YOLO use it). The teacher is resampled to the student's grid where
    the sizes differ. Then both are normalised without learnt parameters.

    Args:
        channels_s (int): Student width.
        channels_t (int): Teacher width.
        project (bool): Whether the loss wants equal widths.
        norm (str): `batch` for the statistics of the batch (each process its own), `instance` for those of each image,
            or `none`.
    """

    def __init__(self, channels_s: int, channels_t: int, project: bool = True, norm: str = "none"):
        """Initialize the projection and check the norm."""
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"'norm={norm}' is unknown; choose from {', '.join(NORMS)}.")
        self.project = (
            nn.Conv2d(channels_s, channels_t, 1, bias=False) if project and channels_s != channels_t else None
        )
        self.norm = norm

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both maps in fp32, ready to compare.

        Args:
            student (torch.Tensor): Map (N, Cs, H, W).
            teacher (torch.Tensor): Map (N, Ct, H', W').

        Returns:
            student (torch.Tensor): Map (N, Ct, H, W), or (N, Cs, H, W) without projection.
            teacher (torch.Tensor): Map (N, Ct, H, W), detached.
        """
        student = student.float()
        teacher = teacher.detach().float()
        if self.project is not None:
            student = self.project(student)
        if teacher.shape[2:] != student.shape[2:]:
            teacher = F.interpolate(teacher, student.shape[2:], mode="bilinear", align_corners=False)
        return self.normalise(student), self.normalise(teacher)

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        """Shift and scale each channel to mean 0 and variance 1 over the batch or over each image."""
        if self.norm == "batch":
            return F.batch_norm(x, None, None, training=True)
        if self.norm == "instance":
            return F.instance_norm(x)
        return x
