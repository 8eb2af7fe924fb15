# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Mean squared error of raw outputs."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import MSE


def test_by_hand():
    """One class, four box channels; level 1 has two anchors, level 2 one.

    Level 1: class differences 1 and 1, boxes none: 2 / (5 * 2) = 0.2. Level 2: class 2, boxes 1: (4 + 4) / 5 = 1.6.
    (0.2 + 1.6) / 4 = 0.45.
    """
    student = {"scores": torch.tensor([[[1.0, 1.0, 2.0]]]), "boxes": torch.zeros(1, 4, 3), "shapes": [(1, 2), (1, 1)]}
    student["boxes"][..., 2] = 1
    teacher = {"scores": torch.zeros(1, 1, 3), "boxes": torch.zeros(1, 4, 3)}
    assert MSE()(student, teacher).item() == pytest.approx(0.45)


def test_loop(case):
    """Level by level on maps, as the tutorials have the heads' outputs."""
    c = case("mse")
    total, at = 0, 0
    for h, w in c.student["shapes"]:
        s, t = (torch.cat((d["boxes"], d["scores"]), 1)[..., at : at + h * w] for d in (c.student, c.teacher))
        total, at = total + ((s - t) ** 2).mean(), at + h * w
    torch.testing.assert_close(c(), total * 0.25, rtol=1e-9, atol=0)


def test_mix_by_hand():
    """Half of q = 1/2 and half of label 1: 3/4, with logit ln 3. One class and anchor, boxes equal: ln^2 3 / 5 / 4."""
    boxes = {"boxes": torch.zeros(1, 4, 1), "shapes": [(1, 1)]}
    student = {"scores": torch.zeros(1, 1, 1), "target_scores": torch.ones(1, 1, 1), **boxes}
    value = MSE(alpha=0.5)(student, {"scores": torch.zeros(1, 1, 1), **boxes})
    assert value.item() == pytest.approx(math.log(3) ** 2 / 20)
    student["target_scores"] *= 0
    hard = MSE(alpha=0)(student, {"scores": torch.zeros(1, 1, 1), **boxes})  # the logit of 0 is kept at that of 1e-6
    assert hard.item() == pytest.approx(math.log(1e6) ** 2 / 20, rel=1e-3)


def test_classification():
    """Class logits alone; with labels the target is a shifted logarithm, which a share of 1 turns into the logits."""
    s, t = {"scores": torch.randn(4, 3).double()}, {"scores": torch.randn(4, 3).double()}
    plain = MSE()(s, t)
    torch.testing.assert_close(plain, ((s["scores"] - t["scores"]) ** 2).mean() / 4)
    s["target_scores"] = torch.eye(3).double()[[0, 1, 2, 0]]
    torch.testing.assert_close(MSE(alpha=1 - 1e-9)(s, t), plain, rtol=1e-6, atol=0)
    mixed = torch.lerp(s["target_scores"], t["scores"].softmax(1), 0.5).log()
    target = mixed + t["scores"].exp().sum(1, keepdim=True).log()
    torch.testing.assert_close(MSE(alpha=0.5)(s, t), ((s["scores"] - target) ** 2).mean() / 4)
