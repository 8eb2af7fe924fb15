# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Keypoints and visibility."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ultralytics.distill.losses import Pose
from ultralytics.utils.loss import KeypointLoss
from ultralytics.utils.metrics import OKS_SIGMA


def one(x: float, y: float, *visibility: float, side: float = 2.0) -> dict:
    """Return a dict of one anchor of confidence 3/4 with a square box and one keypoint, 0.5 exact."""
    points = torch.tensor([x, y, *visibility]).view(1, 1, -1, 1)
    boxes = torch.full((1, 4, 1), side / 2)
    return {
        "scores": torch.full((1, 1, 1), math.log(3)),
        "boxes": boxes,
        "keypoints": points,
        "sigmas": torch.tensor([0.5]),
    }


def test_by_hand():
    """One cell apart in a box of 2 x 2: h(1/2) = 1/8, visible with 3/4; KL(3/4 || 1/2) = 0.130812; w_a / Z = 3/4."""
    value = Pose()(one(1.0, 0.0, 0.0), one(0.0, 0.0, math.log(3)))
    assert value.item() == pytest.approx(0.75 * (0.75 / 8 + 0.130812), rel=1e-5)


def test_near_is_the_exponent_of_the_similarity():
    """Upstream's own loss is 1 - exp(-e); for small distances the term is e, whatever the keypoints' sigmas."""
    s, t = one(0.0, 0.0), one(0.0, 0.0, side=4.0)
    s["keypoints"], t["keypoints"] = torch.zeros(1, 17, 2, 1), torch.zeros(1, 17, 2, 1)
    torch.manual_seed(0)
    s["keypoints"] += torch.randn(1, 17, 2, 1) * 0.01
    sigmas = torch.as_tensor(OKS_SIGMA).float()
    area, mask = torch.full((1, 1), 16.0), torch.ones(1, 17)
    theirs = KeypointLoss(sigmas)(s["keypoints"][..., 0], t["keypoints"][..., 0], mask, area)
    s["sigmas"] = sigmas
    assert Pose()(s, t).item() == pytest.approx(0.75 * theirs.item(), rel=1e-3)
    s["keypoints"].requires_grad_()
    far = Pose()(s, {**t, "keypoints": t["keypoints"] + 50})
    assert (torch.autograd.grad(far, s["keypoints"])[0].abs() > 0.01).all()  # where upstream's has no slope left


def test_without_visibility():
    """A teacher that tells no visibility has every keypoint in sight; then visibility is not compared."""
    assert Pose()(one(1.0, 0.0), one(0.0, 0.0)).item() == pytest.approx(0.75 / 8)
    assert Pose()(one(1.0, 0.0, 0.3), one(0.0, 0.0)).item() == pytest.approx(0.75 / 8)
    assert Pose()(one(1.0, 0.0), one(0.0, 0.0, math.log(3))).item() == pytest.approx(0.75 * 0.75 / 8)


def test_small_boxes_do_not_blow_up():
    """A box smaller than a cell counts as one cell."""
    tiny, cell = (Pose()(one(1.0, 0.0), one(0.0, 0.0, side=side)) for side in (0.01, 1.0))
    assert torch.equal(tiny, cell)


def test_naive_loop(case):
    """Keypoint by keypoint, anchor by anchor."""
    c = case("pose", n=2)
    s, t = c.student, c.teacher
    value, weights = 0.0, 0.0
    for i in range(2):
        for a in range(17):
            w = t["scores"][i, :, a].sigmoid().max().item()
            left, upper, right, lower = (
                t["boxes"][i, :, a].view(4, 4).softmax(1) @ torch.arange(4.0).double()
            ).tolist()
            unit = 2 / 5 * math.sqrt(max((left + right) * (upper + lower), 1))  # each of five is 1 / 5 exact
            for k in range(5):
                q = t["keypoints"][i, k, 2, a].sigmoid().item()
                p = s["keypoints"][i, k, 2, a].sigmoid().item()
                d = [(s["keypoints"][i, k, j, a] - t["keypoints"][i, k, j, a]).item() / unit for j in (0, 1)]
                near = sum(x * x / 2 if abs(x) < 1 else abs(x) - 0.5 for x in d)
                hidden = q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
                value += w * (q * near + hidden) / 5
            weights += w
    assert c().item() == pytest.approx(value / max(weights, 1), rel=1e-6)


def test_invisible_keypoints_have_no_place():
    """Where the teacher sees nothing, where it would be does not matter."""
    s, t = one(3.0, 4.0, -50.0), one(0.0, 0.0, -50.0)
    assert Pose()(s, t).item() == pytest.approx(0, abs=1e-6)
    assert F.smooth_l1_loss(s["keypoints"], t["keypoints"]) > 1
