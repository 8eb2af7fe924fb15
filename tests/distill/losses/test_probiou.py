# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Overlap of rotated boxes."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import ProbIoU
from ultralytics.distill.losses.probiou import FLOOR
from ultralytics.distill.upstream import LINE
from ultralytics.utils.metrics import probiou
from ultralytics.utils.tal import dist2rbox, make_anchors


def one(box: tuple[float, ...], angle: float = 0.0) -> dict:
    """Return a dict of one anchor of confidence 3/4, distances without bins."""
    scores, boxes = torch.full((1, 1, 1), math.log(3)), torch.tensor(box).view(1, 4, 1)
    return {"scores": scores, "boxes": boxes, "angle": torch.full((1, 1, 1), angle)}


def test_by_hand():
    """Squares of 6 cells, variance 3, three cells apart: B = 9 / 3 / 8, 1 - ProbIoU = sqrt(1 - exp(-B)) = 0.55918."""
    value = ProbIoU()(one((0.0, 3.0, 6.0, 3.0)), one((3.0, 3.0, 3.0, 3.0)))
    assert value.item() == pytest.approx(0.75 * math.sqrt(1 - math.exp(-0.375)), rel=2e-3)


def test_naive_loop(case):
    """Anchor by anchor, with matrices, as the paper writes it."""
    c = case("probiou", n=2)
    value, weights = 0.0, 0.0
    for i in range(2):
        for a in range(17):
            w = c.teacher["scores"][i, :, a].sigmoid().max()
            shapes = []
            for d in (c.student, c.teacher):
                left, upper, right, lower = d["boxes"][i, :, a].view(4, 4).softmax(1) @ torch.arange(4.0).double()
                r = d["angle"][i, 0, a]
                turn = torch.stack([torch.stack([r.cos(), -r.sin()]), torch.stack([r.sin(), r.cos()])])
                variances = torch.diag(torch.stack([left + right, upper + lower]) ** 2 / 12 + FLOOR)
                centre = turn @ torch.stack([right - left, lower - upper]) / 2
                shapes.append((centre, turn @ variances @ turn.T))
            (m, v), (n, u) = shapes
            both = (v + u) / 2
            b = (m - n) @ both.inverse() @ (m - n) / 8 + (both.det() / (v.det() * u.det()).sqrt()).log() / 2
            value, weights = value + w * (1 - (-b).exp() + 1e-6).sqrt() - w * 1e-3, weights + w
    torch.testing.assert_close(c(), value / weights, rtol=1e-6, atol=0)


@pytest.mark.skipif(LINE == "8.3", reason="the probiou of Ultralytics 8.3 has no floor")
@pytest.mark.parametrize("bins", [4, 1])
def test_ultralytics(case, bins):
    """Decoded and compared by upstream's own functions, at the anchors and in cells."""
    c = case("probiou")
    if bins == 1:
        for d in (c.student, c.teacher):
            d["boxes"] = d["boxes"][:, :4].abs() + 0.1
    anchors, _ = make_anchors(torch.tensor(c.student["shapes"]).double(), [8.0, 16.0, 32.0])
    boxes = []
    for d in (c.student, c.teacher):
        n, k, a = d["boxes"].shape
        reach = d["boxes"].view(n, 4, k // 4, a)
        reach = (reach.softmax(2) * torch.arange(bins).view(1, 1, -1, 1)).sum(2) if bins > 1 else reach[:, :, 0]
        boxes.append(
            torch.cat([dist2rbox(reach, d["angle"], anchors.T, dim=1), d["angle"]], 1).transpose(1, 2).flatten(0, 1)
        )
    w = c.teacher["scores"].sigmoid().amax(1).flatten()
    expected = ((1 - probiou(*boxes, floor=FLOOR)[:, 0]) * w).sum() / w.sum()
    torch.testing.assert_close(c(), expected, rtol=3e-3, atol=0)


def test_angle_matters_and_turns_whole():
    """A long box turned by half a turn is the same one, by a quarter another; a square does not care."""
    long, square = (4.0, 1.0, 4.0, 1.0), (2.0, 2.0, 2.0, 2.0)
    assert ProbIoU()(one(long, math.pi), one(long)).item() == pytest.approx(0, abs=1e-3)
    assert ProbIoU()(one(long, math.pi / 2), one(long)).item() > 0.4
    assert ProbIoU()(one(square, math.pi / 4), one(square)).item() == pytest.approx(0, abs=1e-3)
