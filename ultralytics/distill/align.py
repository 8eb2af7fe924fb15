# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Fits a student map to a teacher map before a loss compares them: width, size and norm."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from ultralytics.distill.losses.base import NORMS
from ultralytics.distill.values import choice


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
        self.project = (
            nn.Conv2d(channels_s, channels_t, 1, bias=False) if project and channels_s != channels_t else None
        )
        self.norm = choice("norm", norm, NORMS)

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
        # one pass for width and order of a 16-bit, channels-last map: losses flatten it, which would copy once more
        target = teacher.detach().to(torch.float32, memory_format=memory_format(student))
        if self.project is not None:
            student = self.project(student)
        if target.shape[2:] != student.shape[2:]:
            target = F.interpolate(target, student.shape[2:], mode="bilinear", align_corners=False)
        fresh = target.data_ptr() != teacher.data_ptr()
        return self.normalise(student, self.project is not None), self.normalise(target, fresh)

    def normalise(self, x: torch.Tensor, fresh: bool = False) -> torch.Tensor:
        """Shift and scale each channel to mean 0 and variance 1 over the batch or over each image."""
        if self.norm == "batch":
            return standardise(x, fresh)
        if self.norm == "instance":
            return F.instance_norm(x)
        return x


def memory_format(x: torch.Tensor) -> torch.memory_format:
    """Return whether a map (N, C, H, W), or a weight, lies in memory channel by channel or with its channels last."""
    plain = x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last)
    return torch.contiguous_format if plain else torch.channels_last


def standardise(x: torch.Tensor, fresh: bool = False) -> torch.Tensor:
    """Give each channel of a map (N, C, H, W) mean 0 and variance 1 over images and positions."""
    if x.device.type == "cpu" and x.is_contiguous():
        return _Standardise.apply(x, fresh)
    return F.batch_norm(x, None, None, training=True)


class _Standardise(torch.autograd.Function):
    """Batch normalisation without weights, in passes over the whole map.

    The same numbers as torch's own, which reads contiguous maps on a CPU value by value, in a third of the time. The
    output is all that is kept for backward.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, fresh: bool, eps: float = 1e-5) -> torch.Tensor:
        """Return (x - mean) / sqrt(variance + eps), with the mean taken off before the variance is."""
        mean = x.mean((0, 2, 3), keepdim=True)
        y = x.sub_(mean) if fresh else x - mean
        variance = torch.linalg.vector_norm(y.flatten(2), dim=2).square().sum(0) * (y.shape[1] / y.numel())
        scale = (variance + eps).rsqrt().view(1, -1, 1, 1)
        if fresh:
            ctx.mark_dirty(x)
        ctx.save_for_backward(y.mul_(scale), scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return scale * (grad - mean(grad) - y * mean(grad * y))."""
        y, scale = ctx.saved_tensors
        x = grad * y
        slope = x.mean((0, 2, 3), keepdim=True)
        torch.mul(y, slope, out=x)
        torch.sub(grad, x, out=x)
        return x.sub_(grad.mean((0, 2, 3), keepdim=True)).mul_(scale), None
