# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Ultralytics' score-weighted L2 distance."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ultralytics.distill.values import whole

from .base import Loss


class SL2(Loss):
    """Score-weighted L2: squared differences where the teacher sees something.

    Ultralytics 8.4's own distillation term (`DistillationModel.loss_sl2`), made for YOLO26. With w the teacher's
    largest class probability at a position, and P = 1x1 conv, ReLU, 1x1 conv, trained along:

        L = (sum over images, channels, positions of w * (P(S) - T)^2) / (C * sum over images, positions of w + 1e-9).

    Upstream multiplies it by `dis`, 6 by default; that is the gain's work. `projector` has the layout of one entry of
    `DistillationModel.projector`, so its weights can be loaded. Divided by the weights of the whole (local) batch: uses
    batch statistics, a batch's value is not the mean of its images'. For backward it keeps the projector's hidden map
    and the difference, each of the teacher's size.

    Args:
        channels_s (int): Channels of the student's map.
        channels_t (int): Channels of the teacher's map.
    """

    align = False
    needs_scores = True

    def __init__(self, channels_s: int, channels_t: int):
        """Check the widths and build the projector."""
        super().__init__()
        s, t = whole("channels_s", channels_s, least=1), whole("channels_t", channels_t, least=1)
        self.projector = nn.Sequential(nn.Conv2d(s, t, 1), nn.ReLU(inplace=True), nn.Conv2d(t, t, 1))

    def loss(self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the distance of two maps, (N, Cs, H, W) and (N, Ct, H, W)."""
        scores = self.prepare(self.need(batch, "teacher_scores", "batch"), cut=True)
        if scores.shape[2:] != teacher.shape[2:] or len(scores) != len(teacher):
            raise ValueError(f"sl2 needs scores of the map's size {tuple(teacher.shape)}, got {tuple(scores.shape)}")
        weight = scores.amax(1, keepdim=True).sigmoid()  # (N, 1, H, W)
        error = self.projector(student) - teacher
        return (error.square().sum(1, keepdim=True) * weight).sum() / (weight.sum() * error.shape[1] + 1e-9)
