# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Cosine distance."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ultralytics.distill.losses import Cosine


def test_by_hand():
    """Position 1: (1, 0) and (3, 4), cos 0.6; position 2: (0, 2) and (0, 1), cos 1. L = 1 - (0.6 + 1) / 2 = 0.2."""
    student = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).view(1, 2, 1, 2)
    teacher = torch.tensor([[3.0, 0.0], [4.0, 1.0]]).view(1, 2, 1, 2)
    assert Cosine()(student, teacher).item() == pytest.approx(0.2)


def test_torch(case):
    """It is 1 minus torch's cosine similarity over channels."""
    c = case("cosine")
    expected = 1 - F.cosine_similarity(c.student, c.teacher, dim=1).mean()
    torch.testing.assert_close(c(), expected, rtol=1e-9, atol=0)
