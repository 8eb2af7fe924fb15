# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Attention transfer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ultralytics.distill.values import choice

from .base import Loss


class AT(Loss):
    """Attention transfer: where (or in which channels) a map is active.

    Zagoruyko, Komodakis, "Paying More Attention to Attention", ICLR 2017, arXiv 1612.03928, section 3.1. The attention
    Q is the mean (`form='code'`) or sum (`form='paper'`) over channels of F^2, flattened over H * W, of length 1.

        paper, equation 2:  L = mean over images of ||Q_S - Q_T||_2
        authors' code:      L = mean over images and positions of (Q_S - Q_T)^2

    Mean or sum makes no difference after the normalisation; the two L differ much, and the customary factor 1000 (to be
    given as the gain) belongs to the code's. `over='channel'` is the same with channels and positions swapped; it needs
    maps of equal width, so only then the student's is aligned. Per-image mean: a batch's value is the mean of its
    images'.

    Args:
        form (str): 'code' or 'paper'.
        over (str): 'spatial', attention over positions, or 'channel', over channels.
    """

    align = False

    def __init__(self, form: str = "code", over: str = "spatial"):
        """Check and keep the parameters."""
        super().__init__()
        self.form = choice("form", form, ("code", "paper"))
        self.over = choice("over", over, ("spatial", "channel"))
        self.align = over == "channel"

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        """Return the attention of a map (N, C, H, W): (N, H * W) or (N, C), rows of length 1 (0 for a zero map)."""
        return F.normalize(x.square().mean(1).flatten(1) if self.over == "spatial" else x.square().mean((2, 3)), dim=1)

    def loss(self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the distance of the attention of two maps (N, C, H, W)."""
        s, t = self.attention(student), self.attention(teacher)
        self.same_shape(s, t)
        return F.mse_loss(s, t) if self.form == "code" else torch.linalg.vector_norm(s - t, dim=1).mean()
