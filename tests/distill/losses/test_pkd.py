# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Pearson correlation distillation."""

from __future__ import annotations

import pytest
import torch

from ultralytics.distill.losses import PKD


def test_by_hand():
    """Channel S = 1, 2, 3 and T = 1, 3, 2: correlation 1/2. L = (n - 1) / n * (1 - 1/2) = 2/3 * 1/2 = 1/3."""
    student, teacher = (torch.tensor(x).view(1, 1, 1, 3) for x in ([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]))
    assert PKD()(student, teacher).item() == pytest.approx(
        1 / 3, rel=1e-4
    )  # an epsilon of 1e-5 beside a variance of 2/3


def test_mmrazor(case, oracle):
    """It is mmrazor's PKDLoss, whose epsilon sits elsewhere."""
    theirs = oracle("mmrazor/models/losses/pkd_loss.py").PKDLoss()
    c = case("pkd")
    torch.testing.assert_close(c(), theirs(c.student, c.teacher), rtol=1e-5, atol=0)


def test_correlation(case):
    """It is 1 minus torch's correlation of the channels, averaged, times (n - 1) / n, far above the epsilon."""
    c = case("pkd").map(lambda x: x * 1e4)
    n = c.student.numel() // 4
    rows = (x.transpose(0, 1).flatten(1) for x in (c.student, c.teacher))
    r = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(*rows)])
    torch.testing.assert_close(c(), (1 - r).mean() * (n - 1) / n, rtol=1e-9, atol=0)


def test_scale_and_shift_of_a_channel_do_not_count(case):
    """Only the pattern of a channel is compared."""
    c = case("pkd").map(lambda x: x * 1e3)
    moved = c.map(lambda x: x * torch.rand(1, 4, 1, 1) * 9 + torch.randn(1, 4, 1, 1), ("student",))
    torch.testing.assert_close(c(), moved(), rtol=1e-6, atol=0)


def test_a_dead_channel_gets_no_gradient_without_bound():
    """A channel that a student's ReLU has switched off gets at most some 300 times what the others get, as in align."""
    student, teacher = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
    student[:, 0] = 0.3
    PKD()(student.requires_grad_(), teacher).backward()
    dead, *others = student.grad.abs().amax((0, 2, 3))
    assert 0 < dead < 1e3 * max(others)
