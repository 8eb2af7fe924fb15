# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Cosine distance of feature vectors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ultralytics.distill.values import choice

from .base import NORMS, Loss

EPS = 1e-6  # a shorter vector is not stretched to length 1; 1e-12 would give gradients of 1e12


class Cosine(Loss):
    """Cosine distance between the feature vectors of two maps, position by position.

        L = 1 - mean over images and positions of cos(S_hw, T_hw),

    in [0, 2], 1 for independent maps. The spatial distance of Ultralytics' and RT-DETRv4's (arXiv 2510.25257)
    distillation from vision transformers. It is computed as half the squared distance of the unit vectors, which is the
    same, exact near zero, and zero for two all-zero vectors. Per-image mean: a batch's value is the mean of its
    images'. One map is kept for backward.

    Args:
        norm (str): Normalisation of both maps before the loss.
    """

    def __init__(self, norm: str = "none"):
        """Check and keep the parameter."""
        super().__init__()
        self.norm = choice("norm", norm, NORMS)

    def loss(self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the cosine distance of two maps (N, C, H, W)."""
        self.same_shape(student, teacher)
        error = F.normalize(student, dim=1, eps=EPS) - F.normalize(teacher, dim=1, eps=EPS)
        return error.square().mean() * (error.shape[1] / 2)
