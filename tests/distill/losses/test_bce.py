# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Binary cross-entropy less entropy."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from ultralytics.distill.losses import BCE


def test_by_hand():
    """Two anchors with p = 1/2, q = 3/4: BCE = ln 2 = 0.6931472, H(q) = 0.5623351, difference 0.1308120; Z = 1.5.

    2 * 0.1308120 / 1.5 = 0.1744160. The same as a classifier's scores (N, nc): the mean, 0.1308120.
    """
    student, teacher = torch.zeros(1, 1, 2), torch.full((1, 1, 2), math.log(3))
    assert BCE()({"scores": student}, {"scores": teacher}).item() == pytest.approx(0.1744160, abs=1e-6)
    student, teacher = student.view(2, 1), teacher.view(2, 1)
    assert BCE()({"scores": student}, {"scores": teacher}).item() == pytest.approx(0.1308120, abs=1e-6)


def test_mix_by_hand():
    """Share 0 of the teacher: plain BCE to the labels, ln 2 each, H = 0; Z stays the teacher's, 1.5."""
    student = {"scores": torch.zeros(1, 1, 2), "target_scores": torch.tensor([[[1.0, 0.0]]])}
    value = BCE(alpha=0)(student, {"scores": torch.full((1, 1, 2), math.log(3))})
    assert value.item() == pytest.approx(2 * math.log(2) / 1.5)


def test_torch(case):
    """It is torch's divergence of Bernoulli distributions, summed over anchors and classes, over the confidence."""
    c = case("bce")
    s, t = c.student["scores"], c.teacher["scores"]
    divergence = kl_divergence(Bernoulli(logits=t), Bernoulli(logits=s)).sum()
    torch.testing.assert_close(c(), divergence / t.sigmoid().amax(1).sum(), rtol=1e-9, atol=0)
