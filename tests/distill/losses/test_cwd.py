# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Channel-wise distillation."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import CWD


def test_by_hand():
    """Channel of 2 positions, tau 2: T / tau = (ln 3, 0), phi = (3/4, 1/4); S = 0, phi = (1/2, 1/2).

    KL(T || S) = 3/4 ln 3/2 + 1/4 ln 1/2 = 0.3040988 - 0.1732868 = 0.1308120 (the other direction would be 0.1438).
    Times tau^2 = 4, over N * C = 2 * 2 with three channels at zero: 0.1308120.
    """
    student, teacher = torch.zeros(2, 2, 1, 2), torch.zeros(2, 2, 1, 2)
    teacher[0, 1, 0, 0] = 2 * math.log(3)
    assert CWD(tau=2)(student, teacher).item() == pytest.approx(0.1308120, abs=1e-6)


def test_kornia(case, oracle):
    """At tau 1 it is kornia's divergence of maps, teacher second there as a target."""
    c = case("cwd")
    s, t = (x.flatten(2).softmax(2).view_as(x) for x in (c.student, c.teacher))
    torch.testing.assert_close(c(), oracle("kornia/losses.py").kl_div_loss_2d(s, t), rtol=1e-7, atol=0)


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_mmrazor(case, oracle, tau):
    """It is mmrazor's ChannelWiseDivergence, with its default weight of 1."""
    theirs = oracle("mmrazor/models/losses/cwd.py").ChannelWiseDivergence(tau=tau)
    c = case("cwd", tau=tau)
    torch.testing.assert_close(c(), theirs(c.student, c.teacher), rtol=1e-7, atol=0)


def test_scale_free():
    """Independent maps of unit variance give about 1 at every size: levels weigh the same."""
    for shape in ((2, 64, 40, 40), (2, 128, 10, 10)):
        assert CWD()(torch.randn(shape), torch.randn(shape)).item() == pytest.approx(1, abs=0.1)
