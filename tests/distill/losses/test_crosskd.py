# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Cross-head distillation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy

from ultralytics.distill.losses import CrossKD


def test_by_hand():
    """One channel, two positions, the branch changes nothing. S = (5, 1) has mean 3 and deviation 2, so (1, -1).

    T = (-ln 3, ln 3) has mean 0 and deviation ln 3: cross (ln 3, -ln 3), p = (3/4, 1/4), q = (1/4, 3/4).
    |q - p| = 1/2; BCE = -(1/4 ln 3/4 + 3/4 ln 1/4) = 1.1116414. Two anchors over Z = 1/4 + 3/4 = 1: 1.1116414.
    """
    t = torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2) * math.log(3)
    teacher = {"head": [t], "tail": [nn.Identity()], "scores": t.flatten(2)}
    value = CrossKD()({"head": [torch.tensor([5.0, 1.0]).view(1, 1, 1, 2)]}, teacher)
    assert value.item() == pytest.approx(1.1116414, rel=1e-5)


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


def test_scale_and_shift_of_a_channel_do_not_count(case):
    """Features that carry the teacher's pattern at another scale make the teacher's predictions."""
    c = case("crosskd", equal=True)
    c.student["head"] = [x * 3 + 2 for x in c.student["head"]]
    assert c().abs() < 1e-5  # the epsilon beside the variances


def test_branch_in_16_bits(case):
    """A teacher in bfloat16 has its branch in bfloat16; features and loss stay in float32."""
    c = case("crosskd", dtype=torch.float32)
    expected = c()
    c.teacher["tail"] = [m.bfloat16() for m in c.teacher["tail"]]
    c.student["head"] = [x.requires_grad_() for x in c.student["head"]]
    value = c()
    value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=2e-2, atol=0)
    assert all(x.grad.dtype == torch.float32 for x in c.student["head"])


def test_levels_must_match(case):
    """A level without its branch is an error, not a shorter sum."""
    c = case("crosskd")
    c.teacher["tail"] = c.teacher["tail"][:2]
    with pytest.raises(ValueError, match="2 for .3, 3. levels"):
        c()


def test_a_dead_channel_gets_no_gradient_without_bound(case):
    """A channel that the student has switched off gets at most some hundred times what the others get."""
    c = case("crosskd")
    heads = [x.detach().clone() for x in c.student["head"]]
    for x in heads:
        x[:, 0] = 0.3
    c.student["head"] = [x.requires_grad_() for x in heads]
    c().backward()
    for x in heads:
        dead, *others = x.grad.abs().amax((0, 2, 3))
        assert 0 < dead < 1e3 * max(others)
