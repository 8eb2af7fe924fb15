# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Cross-head distillation, of classes and of boxes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import binary_cross_entropy
from torchvision.ops import generalized_box_iou_loss

from ultralytics.distill.losses import CrossGIoU, CrossKD, CrossLD
from ultralytics.distill.losses.response import rebin
from ultralytics.nn.modules.block import DFL

every = pytest.mark.parametrize("name", ["crosskd", "crossld", "crossgiou"])


def test_by_hand():
    """One channel, two positions, the branch changes nothing. S = (5, 1) has mean 3 and deviation 2, so (1, -1).

    T = (-ln 3, ln 3) has mean 0 and deviation ln 3: cross (ln 3, -ln 3), p = (3/4, 1/4), q = (1/4, 3/4).
    |q - p| = 1/2; BCE = -(1/4 ln 3/4 + 3/4 ln 1/4) = 1.1116414. Two anchors over Z = 1/4 + 3/4 = 1: 1.1116414.
    """
    t = torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2) * math.log(3)
    teacher = {"head": [t], "tail": [nn.Identity()], "scores": t.flatten(2)}
    value = CrossKD()({"head": [torch.tensor([5.0, 1.0]).view(1, 1, 1, 2)]}, teacher)
    assert value.item() == pytest.approx(1.1116414, rel=1e-5)


def boxes(first: float, second: float, *more: float) -> dict:
    """Return a teacher of two anchors of confidence 3/4 whose layers change nothing; channels of `more` are even."""
    head = torch.tensor([[first, second], *([x, x] for x in more)]).view(1, -1, 1, 2)
    scores = torch.full((1, 1, 2), math.log(3))
    return {"head": [head], "tail": [nn.Identity()], "boxes": head.flatten(2), "scores": scores}


def test_sides_by_hand():
    """Two bins, all even but the first of one side: z_T = (-ln 3, ln 3). S = (5, 1) makes the cross (ln 3, -ln 3).

    KL of (1/4, 3/4) to (3/4, 1/4) and the other way round is ln(3) / 2; the mean over 4 sides is ln(3) / 8 = 0.1373265.
    """
    teacher = boxes(-math.log(3), math.log(3), *[0.0] * 7)
    student = torch.zeros(1, 8, 1, 2)
    student[0, 0, 0] = torch.tensor([5.0, 1.0])
    assert CrossLD()({"head": [student]}, teacher).item() == pytest.approx(0.1373265, rel=1e-4)


def test_overlap_by_hand():
    """No bins, left is 1 and 3, the other sides 1. Cross boxes in the other order: 2 x 2 against 4 x 2, each time.

    GIoU is 4 / 8: nothing of the hull is outside. 1 - 1/2, whatever the confidence.
    """
    student = torch.ones(1, 4, 1, 2)
    student[0, 0, 0] = torch.tensor([-2.0, -7.0])
    assert CrossGIoU()({"head": [student]}, boxes(1.0, 3.0, 1.0, 1.0, 1.0)).item() == pytest.approx(0.5, rel=1e-4)


def crossed(c) -> torch.Tensor:
    """Return what the teacher's layers make of the student's features, by torch's batch normalisation."""
    found = []
    for s, t, tail in zip(c.student["head"], c.teacher["head"], c.teacher["tail"]):
        deviation = (t.var((0, 2, 3), correction=0) + 1e-5).sqrt()
        found.append(tail(F.batch_norm(s, None, None, deviation, t.mean((0, 2, 3)), training=True)).flatten(2))
    return torch.cat(found, 2)


@pytest.mark.parametrize("tau", [1.0, 10.0])
def test_mmdet(case, oracle, tau):
    """The divergence of cross predictions is mmdet's, which takes the mean over bins where we take the sum."""
    kl = oracle("mmdet/models/losses/kd_loss.py").KnowledgeDistillationKLDivLoss(reduction="none", T=tau)
    c = case("crossld", tau=tau)
    sides = [x.view(3, 4, 4, 17).transpose(2, 3).reshape(-1, 4) for x in (crossed(c), c.teacher["boxes"])]
    each = kl(*sides).view(3, 4, 17) * 4
    w = c.teacher["scores"].sigmoid().max(1).values
    torch.testing.assert_close(c(), (each.mean(1) * w).sum() / w.sum(), rtol=1e-9, atol=0)


def test_torchvision(case):
    """The overlap of cross boxes is torchvision's, of boxes by upstream's own expectation over bins."""
    c = case("crossgiou")
    (s, t), w = (DFL(4).double()(x) for x in (crossed(c), c.teacher["boxes"])), c.teacher["scores"].sigmoid().amax(1)
    s, t = (torch.cat([-x[:, :2], x[:, 2:]], 1).transpose(1, 2) for x in (s, t))
    expected = (generalized_box_iou_loss(s, t) * w).sum() / w.sum()
    torch.testing.assert_close(c(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("angle", [None, 0.0, math.pi / 2])
def test_images_of_another_size(angle):
    """Cross boxes are in the teacher's cells, from the student's anchor: boxes that are one and the same cost nothing.

    The teacher's image is twice as large. Its anchor is 1/4 of the student's cell, half of its own, to the right of the
    student's: seen from there its box reaches half a cell less to the left, half a cell more to the right. Of a box
    turned by a right angle that is to the bottom and to the top.
    """
    moved = torch.tensor([-0.5, 0.0, 0.5, 0.0] if not angle else [0.0, 0.5, 0.0, -0.5]).view(1, 4, 1)
    shift = torch.tensor([-0.25, 0.0, 0.25, 0.0]).view(1, 4, 1).expand(1, 4, 6)
    teacher = {"tail": [nn.Identity()], "scores": torch.zeros(1, 1, 6)}
    teacher |= {"scale": torch.full((4, 6), 0.5), "shift": shift}
    teacher |= {} if angle is None else {"angle": torch.full((1, 1, 6), angle)}
    sides, bins = torch.rand(1, 4, 6) + 3, torch.randn(1, 4, 8, 6)
    spread = rebin(bins.softmax(2), 8, 1.0, moved.expand(1, 4, 6)).clamp(min=1e-30).log()
    for loss, own, seen in ((CrossGIoU(), sides, sides + moved), (CrossLD(), bins.flatten(1, 2), spread.flatten(1, 2))):
        head = {"head": [seen[:, :, None]]}
        assert loss(head, {**teacher, **head, "boxes": own}).abs() < 1e-4
        assert loss(head, {**teacher, **head, "boxes": own, "shift": 0 * shift}) > 0.05


@pytest.mark.parametrize("params", [{}, {"beta": 2.0}, {"norm": "npos", "alpha": 0.4}])
def test_loop(case, params):
    """The formula, channel by channel, then anchor by anchor."""

    def ratio(t, s):
        return ((t.var(correction=0) + 1e-5) / (s.var(correction=0) + 1e-5)).sqrt()

    c = case("crosskd", **params)
    cross = []
    for s, t, tail in zip(c.student["head"], c.teacher["head"], c.teacher["tail"]):
        x = torch.empty_like(s)
        for k in range(s.shape[1]):
            x[:, k] = (s[:, k] - s[:, k].mean()) * ratio(t[:, k], s[:, k]) + t[:, k].mean()
        cross.append(tail(x).flatten(2))
    p, q = torch.cat(cross, 2).sigmoid(), c.teacher["scores"].sigmoid()
    target = c.loss.alpha * q + (1 - c.loss.alpha) * c.student["target_scores"]
    total = ((target - p).abs() ** c.loss.beta * binary_cross_entropy(p, target, reduction="none")).sum()
    z = c.student["fg_mask"].sum() if c.loss.norm == "npos" else q.amax(1).sum()
    torch.testing.assert_close(c(), total / z, rtol=1e-6, atol=0)


@every
def test_scale_and_shift_of_a_channel_do_not_count(case, name):
    """Features that carry the teacher's pattern at another scale make the teacher's predictions."""
    c = case(name, equal=True)
    c.student["head"] = [x * 3 + 2 for x in c.student["head"]]
    assert c().abs() < 1e-5  # the epsilon beside the variances


@every
def test_branch_in_16_bits(case, name):
    """A teacher in bfloat16 has its branch in bfloat16; features and loss stay in float32."""
    c = case(name, dtype=torch.float32)
    expected = c()
    c.teacher["tail"] = [m.bfloat16() for m in c.teacher["tail"]]
    c.student["head"] = [x.requires_grad_() for x in c.student["head"]]
    value = c()
    value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=2e-2, atol=0)
    assert all(x.grad.dtype == torch.float32 for x in c.student["head"])


@every
def test_levels_must_match(case, name):
    """A level without its branch is an error, not a shorter sum."""
    c = case(name)
    c.teacher["tail"] = c.teacher["tail"][:2]
    with pytest.raises(ValueError, match="2 for .3, 3. levels"):
        c()


@every
def test_a_dead_channel_gets_no_gradient_without_bound(case, name):
    """A channel that the student has switched off gets at most some hundred times what the others get."""
    c = case(name)
    heads = [x.detach().clone() for x in c.student["head"]]
    for x in heads:
        x[:, 0] = 0.3
    c.student["head"] = [x.requires_grad_() for x in heads]
    c().backward()
    for x in heads:
        dead, *others = x.grad.abs().amax((0, 2, 3))
        assert 0 < dead < 1e3 * max(others)
