# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Channel-wise distillation of class maps."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import CWDMap


def test_by_hand():
    """One class, two positions, tau = 1: KL((3/4, 1/4) || (1/2, 1/2)) = 0.130812."""
    s, t = {"scores": torch.zeros(1, 1, 1, 2)}, {"scores": torch.tensor([math.log(3), 0.0]).view(1, 1, 1, 2)}
    assert CWDMap(tau=1.0)(s, t).item() == pytest.approx(0.130812, rel=1e-5)


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_naive_loop(case, tau):
    """Class by class, position by position."""
    c = case("cwdmap", n=2, nc=3, tau=tau)
    value = 0.0
    for i in range(2):
        for k in range(3):
            s, t = ([math.exp(x / tau) for x in d["scores"][i, k].flatten().tolist()] for d in (c.student, c.teacher))
            for a, b in zip(s, t):
                value += tau**2 * b / sum(t) * math.log((b / sum(t)) / (a / sum(s)))
    assert c().item() == pytest.approx(value / 6, rel=1e-6)


def test_outside(case, oracle):
    """It is mmrazor's ChannelWiseDivergence, as its configurations use it on logits."""
    theirs = oracle("mmrazor/models/losses/cwd.py").ChannelWiseDivergence(tau=4.0, loss_weight=1.0)
    c = case("cwdmap")
    torch.testing.assert_close(c(), theirs(c.student["scores"], c.teacher["scores"]))
