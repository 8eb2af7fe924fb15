# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Relational distillation."""

from __future__ import annotations

import pytest
import torch

from ultralytics.distill.losses import RKD


def test_distances_by_hand():
    """S = 0, 1, 3: distances 1, 3, 2, over their mean 2: 0.5, 1.5, 1. T = 0, 1, 2: 1, 2, 1 over 4/3: 0.75, 1.5, 0.75.

    Smooth L1 of -0.25, 0, 0.25: 0.03125, 0, 0.03125, each pair twice, over 9 entries: 0.0138889; times 25: 0.3472222.
    """
    student, teacher = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    assert RKD(weight_a=0)(student, teacher).item() == pytest.approx(0.3472222)


def test_angles_by_hand():
    """S on a line, (0, 0), (1, 0), (2, 0): cosines at them 1, -1, 1. T = (1, 0), (0, 0), (0, 1): 0.7071, 0, 0.7071.

    Smooth L1 of 0.2928932, -1, 0.2928932: 0.0428932, 0.5, 0.0428932, each triple twice, over 27 entries: 0.0433916;
    times 50: 2.1695790.
    """
    student, teacher = torch.tensor([[0.0, 0], [1, 0], [2, 0]]), torch.tensor([[1.0, 0], [0, 0], [0, 1]])
    assert RKD(weight_d=0)(student, teacher).item() == pytest.approx(2.1695790)


def test_torchdistill(case, oracle):
    """It is torchdistill's RKDLoss on pooled features."""
    theirs = oracle("torchdistill/losses/mid_level.py").RKDLoss(".", ".", 25, 50, "mean")
    c = case("rkd", n=6)
    s, t = (x.mean((2, 3)) for x in (c.student, c.teacher))
    expected = theirs({".": {"output": s}}, {".": {"output": t}})
    torch.testing.assert_close(c(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(c.loss(s, t), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("unit", [True, False])
def test_mmrazor(case, oracle, unit):
    """It is the sum of mmrazor's two losses; they bring the features to length 1 unless told otherwise."""
    file = oracle("mmrazor/models/losses/relational_kd.py")
    theirs = file.DistanceWiseRKD(7.0, with_l2_norm=unit), file.AngleWiseRKD(3.0, with_l2_norm=unit)
    c = case("rkd", n=6, weight_d=7, weight_a=3, unit=unit)
    s, t = (x.mean((2, 3)) for x in (c.student, c.teacher))
    torch.testing.assert_close(c(), sum(x(s, t) for x in theirs), rtol=1e-6, atol=0)


def test_equal_images_have_no_angle():
    """Two images the same for the student: distance zero, no direction, and no gradient without bounds."""
    student = torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 5.0]], requires_grad=True)
    RKD()(student, torch.randn(3, 4)).backward()
    assert student.grad.isfinite().all() and student.grad.abs().max() < 1e3
