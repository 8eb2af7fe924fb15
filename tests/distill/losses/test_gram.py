# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Gram matrices."""

from __future__ import annotations

import pytest
import torch

from ultralytics.distill.losses import Gram
from ultralytics.distill.losses.gram import gram


def test_by_hand():
    """F_S = I, G_S = I / 2; F_T all ones, G_T all ones. Squares 0.25 + 1 + 1 + 0.25 = 2.5, over C^2 = 4: 0.625.

    A second image without difference halves the mean: 0.3125.
    """
    student, teacher = torch.zeros(2, 2, 1, 2), torch.zeros(2, 2, 1, 2)
    student[0], teacher[0] = torch.eye(2).view(2, 1, 2), 1
    assert Gram()(student, teacher).item() == pytest.approx(0.3125)


def test_torchdistill(case, oracle):
    """The matrix is torchdistill's FSP matrix of a map with itself; their loss has another norm than the paper."""
    fsp = oracle("torchdistill/losses/mid_level.py").FSPLoss.compute_fsp_matrix
    c = case("gram")
    torch.testing.assert_close(gram(c.student), fsp(c.student, c.student), rtol=1e-9, atol=1e-12)
