# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Divergence of class distributions."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import KL


def test_by_hand():
    """With t / tau = (ln 3, 0) and s = 0: KL((3/4, 1/4) || (1/2, 1/2)) = 0.1308120 (the other direction: 0.1438410).

    tau = 2: times 4 is 0.5232480; over two images, one without difference: 0.2616240.
    """
    teacher = {"scores": torch.tensor([[2 * math.log(3), 0.0], [0.0, 0.0]])}
    assert KL(tau=2)({"scores": torch.zeros(2, 2)}, teacher).item() == pytest.approx(0.2616240, abs=1e-6)


def test_mix_by_hand():
    """Share 0 of the teacher: cross-entropy at the temperature to the labels, ln 2, times tau^2 = 9."""
    student = {"scores": torch.zeros(1, 2), "target_scores": torch.tensor([[0.0, 1.0]])}
    value = KL(tau=3, alpha=0)(student, {"scores": torch.randn(1, 2)})
    assert value.item() == pytest.approx(9 * math.log(2))


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_outside(case, oracle, tau):
    """It is mmrazor's KLDivergence; torchdistill's leaves out tau^2 when there are no labels."""
    c = case("kl", tau=tau)
    s, t = c.student["scores"], c.teacher["scores"]
    theirs = oracle("mmrazor/models/losses/kl_divergence.py").KLDivergence(tau=tau)
    torch.testing.assert_close(c(), theirs(s, t), rtol=1e-9, atol=0)
    other = oracle("torchdistill/losses/mid_level.py").KDLoss(".", "output", ".", "output", tau, alpha=0)
    got = other({".": {"output": s}}, {".": {"output": t}}, None)
    torch.testing.assert_close(c(), tau**2 * got, rtol=1e-9, atol=0)


def test_maps(case):
    """Class maps (N, nc, H, W) are so many classifications: the mean over images and positions."""
    s, t = torch.randn(2, 2, 5, 3, 4).double()
    rows = [x.movedim(1, 3).reshape(-1, 5) for x in (s, t)]
    got, expected = (KL()({"scores": a}, {"scores": b}) for a, b in ((s, t), rows))
    torch.testing.assert_close(got, expected)
    hard = torch.nn.functional.one_hot(torch.randint(0, 5, (2, 3, 4)), 5).movedim(3, 1)
    got = KL(alpha=0.5)({"scores": s, "target_scores": hard}, {"scores": t})
    flat = hard.movedim(1, 3).reshape(-1, 5)
    expected = KL(alpha=0.5)({"scores": rows[0], "target_scores": flat}, {"scores": rows[1]})
    torch.testing.assert_close(got, expected)


def test_standardized_by_hand():
    """(2, 2, -4) has mean 0 and deviation sqrt(8), so it is (1, 1, -2) / sqrt(2); (5, 5, -1) is the same."""
    z = [2**-0.5, 2**-0.5, -(2**0.5)]
    teacher, other = {"scores": torch.tensor([[2.0, 2.0, -4.0]])}, {"scores": torch.tensor([[5.0, 5.0, -1.0]])}
    loss, plain = KL(tau=2, standardize=True), KL(tau=2)
    assert loss(other, teacher) < 1e-6 < plain({"scores": torch.tensor([[4.0, 4.0, -8.0]])}, teacher)
    flat = {"scores": torch.tensor([[1.0, -2.0, 1.0]])}
    turned = {"scores": torch.tensor([[z[0], z[2], z[1]]])}
    assert loss(flat, teacher).item() == pytest.approx(plain(turned, {"scores": torch.tensor([z])}).item(), rel=1e-4)


@pytest.mark.parametrize("name", ["kl", "dist"])
def test_detectors_are_refused(case, name):
    """Softmax over a sigmoid detector's classes is zero for one class and blind to a shift of all logits."""
    c = case(name)
    c.student["boxes"] = torch.zeros(1)
    with pytest.raises(ValueError, match=f"{name} .*use relative or bckd"):
        c()
