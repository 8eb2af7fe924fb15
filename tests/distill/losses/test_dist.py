# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Correlations of class probabilities."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import DIST


def test_by_hand():
    """y_S = (3/4, 1/4), (1/4, 3/4), y_T = (3/4, 1/4), (9/10, 1/10), at tau 2.

    Images: two classes correlate fully or not at all: 1 - rho = 0 and 2, mean 1. Classes: from the first image to the
    second, class 0 falls for the student (3/4 to 1/4) and rises for the teacher (3/4 to 9/10), class 1 the other way:
    1 - rho = 2 for both. tau^2 * (1 * 1 + 3 * 2) = 28.
    """
    student = 2 * torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])
    teacher = 2 * torch.tensor([[math.log(3), 0.0], [math.log(9), 0.0]])
    value = DIST(tau=2, beta=1, gamma=3)({"scores": student}, {"scores": teacher})
    assert value.item() == pytest.approx(28, rel=1e-5)


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_outside(case, oracle, tau):
    """It is mmrazor's and torchdistill's DISTLoss, whose epsilons sit elsewhere."""
    c = case("dist", n=6, nc=5, tau=tau, beta=2.0, gamma=3.0)
    s, t = c.student["scores"], c.teacher["scores"]
    theirs = oracle("mmrazor/models/losses/dist_loss.py").DISTLoss(2.0, 3.0, tau, loss_weight=1.0, teacher_detach=True)
    torch.testing.assert_close(c(), theirs(s, t), rtol=1e-5, atol=0)
    other = oracle("torchdistill/losses/mid_level.py").DISTLoss(".", "output", ".", "output", 2.0, 3.0, tau)
    torch.testing.assert_close(c(), other({".": {"output": s}}, {".": {"output": t}}), rtol=1e-5, atol=0)


def test_maps():
    """Class maps (N, nc, H, W): each position is an image."""
    s, t = torch.randn(2, 2, 5, 3, 4).double()
    rows = [x.movedim(1, 3).reshape(-1, 5) for x in (s, t)]
    got, expected = (DIST()({"scores": a}, {"scores": b}) for a, b in ((s, t), rows))
    torch.testing.assert_close(got, expected)


def test_mix(case):
    """Share 0 of the teacher: the correlation with the labels' one-hot vectors."""
    c = case("dist", n=6, nc=3, alpha=0.0, gamma=0.0)
    y = c.student["scores"].softmax(1)
    r = [torch.corrcoef(torch.stack((a, b)))[0, 1] for a, b in zip(y, torch.eye(3).double()[c.batch["cls"]])]
    torch.testing.assert_close(c(), 1 - sum(r) / 6)
