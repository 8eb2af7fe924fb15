# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Difference of decoded box sides."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import L1
from ultralytics.distill.upstream import LINE
from ultralytics.nn.modules.block import DFL
from ultralytics.utils.loss import BboxLoss
from ultralytics.utils.tal import dist2bbox, make_anchors


def one(*boxes: tuple[float, ...], shape: tuple[int, int] = (2, 4)) -> dict:
    """Return one image's distances (reg_max 1) on one level of stride 8, each anchor of confidence 3/4."""
    sides = torch.zeros(1, 4, shape[0] * shape[1])
    sides[..., : len(boxes)] = torch.tensor(boxes).T
    scores = torch.full((1, 1, sides.shape[2]), -99.0)
    scores[..., : len(boxes)] = math.log(3)
    return {"boxes": sides, "scores": scores, "shapes": [shape], "strides": [8.0]}


def test_by_hand():
    """Image of 32 x 16, stride 8. Left is off by one cell, 8 of 32 pixels: 1/4; top by one, 8 of 16 pixels: 1/2.

    Mean over four sides (1/4 + 1/2) / 4 = 0.1875. One anchor, Z = 1: 0.75 * 0.1875 = 0.140625. With a second that is
    equal, Z = 1.5: 0.09375.
    """
    student, teacher, same = (1.0, 1.0, 1.0, 1.0), (2.0, 0.0, 1.0, 1.0), (1.0, 2.0, 3.0, 4.0)
    assert L1()(one(student), one(teacher)).item() == pytest.approx(0.140625)
    assert L1()(one(student, same), one(teacher, same)).item() == pytest.approx(0.09375)


@pytest.mark.skipif(LINE == "8.3", reason="8.3 has no heads without bins")
@pytest.mark.parametrize("bins", [4, 1])
def test_ultralytics(case, bins):
    """It is upstream's own loss for heads without bins, for labels that are the teacher's boxes."""
    c = case("l1")
    if bins == 1:
        c = c.map(lambda x: x[:, :4].abs() + 0.1)
    maps = [torch.zeros(1, 1, h, w) for h, w in c.student["shapes"]]
    anchors, strides = (x.double() for x in make_anchors(maps, c.student["strides"]))
    s, t = (d["boxes"] if bins == 1 else DFL(bins).double()(d["boxes"]) for d in (c.student, c.teacher))
    s, t = s.transpose(1, 2), t.transpose(1, 2)
    boxes = [dist2bbox(x, anchors, xywh=False) for x in (s, t)]
    w = c.teacher["scores"].sigmoid().amax(1)
    imgsz = torch.tensor(c.student["shapes"][0]).double() * c.student["strides"][0]
    expected = BboxLoss(1)(s, boxes[0], anchors, boxes[1], w[..., None], w.sum(), w > 0, imgsz, strides)[1]
    torch.testing.assert_close(c(), expected, rtol=1e-9, atol=0)


def test_slope_does_not_depend_on_the_box(case):
    """A box ten times as large, and one far from the teacher's, are drawn as hard as any other: unlike by overlap."""
    grads = []
    for box in ((1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 10.0, 10.0), (-30.0, 1.0, 32.0, 1.0)):
        student = one(box)
        student["boxes"].requires_grad_()
        L1()(student, one(tuple(x - 0.5 for x in box))).backward()
        grads.append(student["boxes"].grad)
    assert torch.equal(grads[0], grads[1]) and torch.equal(grads[0], grads[2]) and grads[0][..., 0].min() > 0
