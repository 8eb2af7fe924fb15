# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Overlap of decoded boxes."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import GIoU
from ultralytics.nn.modules.block import DFL
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.tal import dist2bbox, make_anchors


def one(*boxes: tuple[float, ...]) -> dict:
    """Return a dict of one image's distances (reg_max 1), each anchor of confidence 3/4."""
    return {"boxes": torch.tensor(boxes).T[None], "scores": torch.full((1, 1, len(boxes)), math.log(3))}


def test_by_hand():
    """2 x 2 within 4 x 4: GIoU 4 / 16 = 0.25; one anchor, Z = 1: 0.75 * 0.75 = 0.5625.

    x from 1 to 3 against -1 to 0, height 1: no overlap, union 3, hull 4, GIoU -1/4. Both: 0.75 * (0.75 + 1.25) / 1.5.
    """
    small, large = (1.0, 1.0, 1.0, 1.0), (2.0, 2.0, 2.0, 2.0)
    assert GIoU()(one(small), one(large)).item() == pytest.approx(0.5625)
    right, left = (-1.0, 0.0, 3.0, 1.0), (1.0, 0.0, 0.0, 1.0)
    assert GIoU()(one(small, right), one(large, left)).item() == pytest.approx(1.0)


@pytest.mark.parametrize("bins", [4, 1])
def test_ultralytics(case, bins):
    """Decoded and compared by upstream's own functions, at the anchors and in pixels."""
    c = case("giou")
    if bins == 1:
        c = c.map(lambda x: x[:, :4].abs() + 0.1)
    maps = [torch.zeros(1, 1, h, w) for h, w in c.student["shapes"]]
    anchors, strides = (x.double() for x in make_anchors(maps, c.student["strides"]))
    s, t = (d["boxes"] if bins == 1 else DFL(bins).double()(d["boxes"]) for d in (c.student, c.teacher))
    s, t = (dist2bbox(x.transpose(1, 2), anchors, xywh=False) * strides for x in (s, t))
    w = c.teacher["scores"].sigmoid().amax(1)
    expected = ((1 - bbox_iou(s, t, xywh=False, GIoU=True).squeeze(2)) * w).sum() / w.sum()
    torch.testing.assert_close(c(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("inside_out", ["student", "teacher"])
def test_box_turned_inside_out_is_finite(case, inside_out):
    """Without bins a head may give negative sides; they count as none."""
    good, bad = one((1.0, 1.0, 1.0, 1.0)), one((-2.0, 1.0, -1.0, 1.0))
    student, teacher = (bad, good) if inside_out == "student" else (good, bad)
    student["boxes"].requires_grad_()
    value = GIoU()(student, teacher)
    value.backward()
    assert 0.75 <= value.item() <= 1.5 and student["boxes"].grad.isfinite().all()
