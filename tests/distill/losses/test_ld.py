# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Localisation distillation."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import LD
from ultralytics.distill.losses.response import distances, rebin


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
    bins = boxes | {"boxes": torch.zeros(1, 64, 5)}
    for student, teacher in ((boxes, boxes), (boxes, bins), (bins, boxes)):
        with pytest.raises(ValueError, match="reg_max=1, use giou"):
            LD()(student, teacher)


def test_bins_of_another_unit_by_hand():
    """In a unit twice as long 6 is 3, and 7 half 3 and half 4; in one half as long 6 is 12; the last bin is the end."""
    six, seven = (torch.eye(16)[k].view(1, 1, 16, 1) for k in (6, 7))
    assert rebin(six, 16, 0.5).nonzero()[:, 2].tolist() == [3]
    assert rebin(seven, 16, 0.5)[0, 0, :, 0].tolist() == [0, 0, 0, 0.5, 0.5, *[0] * 11]
    assert rebin(six, 16, 2.0).nonzero()[:, 2].tolist() == [12] and rebin(six, 8, 2.0).nonzero()[:, 2].tolist() == [7]
    moved = rebin(six, 16, 0.5, torch.tensor(0.25).view(1, 1, 1))[0, 0, :, 0]  # 3.25
    assert moved.nonzero().flatten().tolist() == [3, 4] and moved[3:5].tolist() == [0.75, 0.25]


@pytest.mark.parametrize("bins", [16, 24])
@pytest.mark.parametrize("scale", [0.5, 2 / 3, 1.0, 1.5])
def test_bins_keep_their_sum_and_expectation(scale, bins):
    """Whatever the unit and number of bins, distributions stay such, with the same mean length while bins reach."""
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4 * 10, 7, generator=g, dtype=torch.float64)
    shift = torch.rand(2, 4, 7, generator=g, dtype=torch.float64)
    share = logits.unflatten(1, (4, -1)).softmax(2)
    new = rebin(share, bins, torch.full((4, 7), scale, dtype=torch.float64), shift)
    assert new.shape == (2, 4, bins, 7) and new.min() >= 0
    torch.testing.assert_close(new.sum(2), torch.ones(2, 4, 7).double())
    torch.testing.assert_close(distances(new.log().flatten(1, 2)), distances(logits) * scale + shift)


@pytest.mark.parametrize("tau", [1.0, 10.0])
def test_teacher_of_other_images_and_bins(tau):
    """A side of 6 taught from images twice as large, and by 32 bins, asks for 3: there the student's loss is 0.

    With a temperature the distribution that is brought to the student's bins is the one at the temperature.
    """
    student, teacher = torch.full((1, 4, 16, 1), -99.0), torch.full((1, 4, 32, 1), -99.0)
    student[:, :, 3], teacher[:, :, 6] = 0, 0
    student, scores = student.flatten(1, 2).requires_grad_(), {"scores": torch.full((1, 1, 1), 9.0)}
    more = scores | {"scale": torch.full((4, 1), 0.5), "shift": torch.zeros(1, 4, 1)}
    logits = teacher.flatten(1, 2).requires_grad_()
    value = LD(tau)({"boxes": student}, {"boxes": logits, **more})
    value.backward()
    assert logits.grad is None and student.grad is not None
    soft = rebin((teacher / tau).softmax(2), 16, 0.5)
    q = (student.detach().unflatten(1, (4, 16)) / tau).softmax(2)
    expected = (soft * (soft.clamp(min=1e-30) / q).log()).sum(2).mean() * tau**2
    assert value.item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-5) and (tau > 1 or value < 1e-5)
    assert LD(tau)({"boxes": student}, {"boxes": logits, **scores}) > 10 * value
