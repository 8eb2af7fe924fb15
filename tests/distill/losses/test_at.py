# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Attention transfer."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ultralytics.distill.losses import AT

STUDENT = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # (C, HW), means of squares over C: 1, 0; length 1: (1, 0)
TEACHER = torch.tensor([[3.0**0.5, 2.0]])  # means of squares over C: 3, 4; length 1: (0.6, 0.8)


def test_by_hand():
    """Differences (0.4, -0.8): code form (0.16 + 0.64) / 2 = 0.4, paper form sqrt(0.8) = 0.8944272."""
    student, teacher = STUDENT.view(1, 2, 1, 2), TEACHER.view(1, 1, 1, 2)
    assert AT()(student, teacher).item() == pytest.approx(0.4)
    assert AT(form="paper")(student, teacher).item() == pytest.approx(0.8944272)


def test_channels_by_hand():
    """The same numbers with channels and positions swapped."""
    student, teacher = STUDENT.T.view(1, 2, 1, 2), TEACHER.T.view(1, 2, 1, 1)
    assert AT(over="channel")(student, teacher).item() == pytest.approx(0.4)
    assert AT(over="channel", form="paper")(student, teacher).item() == pytest.approx(0.8944272)


def test_mmrazor(case, oracle):
    """The code form is mmrazor's ATLoss."""
    theirs = oracle("mmrazor/models/losses/at_loss.py").ATLoss()
    c = case("at")
    torch.testing.assert_close(c(), theirs(c.student, c.teacher), rtol=1e-9, atol=0)


@pytest.mark.parametrize("form", ["code", "paper"])
def test_torchdistill(case, oracle, form):
    """Both forms are torchdistill's."""
    io = {"io": "output", "path": "x"}
    theirs = oracle("torchdistill/losses/mid_level.py").ATLoss({"x": {"student": io, "teacher": io}}, mode=form)
    c = case("at", form=form)
    got = theirs({"x": {"output": c.student}}, {"x": {"output": c.teacher}})
    torch.testing.assert_close(c(), got, rtol=1e-9, atol=0)


def test_channels_loop(case):
    """Attention over channels, image by image and channel by channel."""
    c = case("at", over="channel")
    total = 0
    for s, t in zip(c.student, c.teacher):
        q_s, q_t = (F.normalize(torch.stack([ch.square().mean() for ch in x]), dim=0) for x in (s, t))
        total += (q_s - q_t).square().mean()
    torch.testing.assert_close(c(), total / 3, rtol=1e-9, atol=0)
