# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Localisation distillation."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import LD


def test_by_hand():
    """Two anchors of confidence 3/4, two bins; one side of one anchor differs: z_T / tau = (ln 3, 0), z_S = 0.

    KL = 0.1308120 (the other direction: 0.1438410), mean over 4 sides 0.0327030, times w / Z = 0.75 / 1.5: 0.0163515;
    tau = 2: times 4, 0.0654060.
    """
    teacher = {"scores": torch.full((1, 1, 2), math.log(3)), "boxes": torch.zeros(1, 8, 2)}
    teacher["boxes"][0, 4, 1] = 2 * math.log(3)  # third side, first bin
    assert LD(tau=2)({"boxes": torch.zeros(1, 8, 2)}, teacher).item() == pytest.approx(0.0654060, abs=1e-6)


@pytest.mark.parametrize("tau", [1.0, 10.0])
def test_mmdet(case, oracle, tau):
    """Side by side it is mmdet's divergence, which takes the mean over bins where we take the sum."""
    kl = oracle("mmdet/models/losses/kd_loss.py").KnowledgeDistillationKLDivLoss(reduction="none", T=tau)
    c = case("ld", tau=tau)
    sides = [d["boxes"].view(3, 4, 4, 17).transpose(2, 3).reshape(-1, 4) for d in (c.student, c.teacher)]
    each = kl(*sides).view(3, 4, 17) * 4
    w = c.teacher["scores"].sigmoid().max(1).values
    torch.testing.assert_close(c(), (each.mean(1) * w).sum() / w.sum(), rtol=1e-9, atol=0)


def test_sides_are_outer():
    """Upstream's heads put a side's bins next to each other: the first bin against the second of the same side."""
    one = torch.zeros(1, 8, 1)
    one[0, 0] = 3.0
    other = one.roll(1, 1)  # the other bin of the same side
    scores = {"scores": torch.full((1, 1, 1), 9.0)}
    p = torch.tensor([3.0, 0.0]).softmax(0)
    expected = (p * (p / p.flip(0)).log()).sum() / 4
    assert LD()({"boxes": other}, scores | {"boxes": one}).item() == pytest.approx(expected.item(), rel=1e-3)


def test_no_bins():
    """Heads with reg_max=1, as YOLO26's, have nothing to compare here."""
    boxes = {"boxes": torch.zeros(1, 4, 5), "scores": torch.zeros(1, 2, 5)}
    with pytest.raises(ValueError, match="reg_max=1, use giou"):
        LD()(boxes, boxes)
