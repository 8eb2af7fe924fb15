# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Similarity-preserving distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ultralytics.distill.values import choice

from .relation import RelationLoss, pool


class SP(RelationLoss):
    """Similarity-preserving distillation: images alike for the teacher shall be alike for the student.

    Tung, Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, arXiv 1907.09682, equations 1 to 4:

        rows:    G = Q Q^T, Q (N, C * H * W), each row of G of length 1;    L = ||G_S - G_T||_F^2 / N^2
        cosine:  G = cosine similarities of the pooled features (N, C);     L = mean off the diagonal of (G_S - G_T)^2

    `rows` is the paper's; its customary factor is 3000, to be given as the gain. `cosine` leaves out the diagonal, on
    which the rows' lengths depend, and positions. Uses batch statistics, each process its own batch's: a batch's value
    is not the mean of its images', and one image gives zero.

    Args:
        form (str): 'rows' or 'cosine'.
    """

    def __init__(self, form: str = "rows"):
        """Check and keep the form."""
        super().__init__()
        self.form = choice("form", form, ("rows", "cosine"))

    def similarity(self, x: torch.Tensor) -> torch.Tensor:
        """Return the similarities (N, N) of the images of a map (N, C, H, W)."""
        if self.form == "rows":
            x = x.flatten(1)
            return F.normalize(x @ x.T, dim=1)
        x = F.normalize(pool(x), dim=1, eps=1e-6)  # larger than usual: its inverse bounds the gradient of a zero map
        return x @ x.T

    def relation(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the squared difference of the similarities in two maps."""
        error = (self.similarity(student) - self.similarity(teacher)).square()
        n = len(error)
        return error.mean() if self.form == "rows" else (error.sum() - error.diagonal().sum()) / (n * (n - 1))
