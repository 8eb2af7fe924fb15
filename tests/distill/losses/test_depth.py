# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Depth maps."""

from __future__ import annotations

import pytest
import torch

from ultralytics.distill.losses import Depth


def test_by_hand():
    """With e = (0, 1; 0, 3): mean |e| = 1, along rows (1 + 3) / 2 = 2, along columns (0 + 2) / 2 = 1."""
    s, t = {"log_depth": torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]])}, {"log_depth": torch.zeros(1, 1, 2, 2)}
    assert Depth()(s, t).item() == pytest.approx(4) and Depth(slope=0)(s, t).item() == pytest.approx(1)


def test_a_constant_factor_has_no_slopes():
    """A teacher of another scale differs by a constant in log depth, whose slopes are equal."""
    s = {"log_depth": torch.randn(2, 1, 5, 4)}
    t = {"log_depth": s["log_depth"] + 0.5}
    assert Depth(slope=9)(s, t).item() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("slope", [1.0, 0.3])
def test_naive_loop(case, slope):
    """Pixel by pixel and edge by edge."""
    c = case("depth", n=2, slope=slope)
    e = (c.student["log_depth"] - c.teacher["log_depth"])[:, 0].tolist()
    n, h, w = 2, 3, 5
    value = sum(abs(e[i][y][x]) for i in range(n) for y in range(h) for x in range(w)) / (n * h * w)
    rows = [abs(e[i][y][x + 1] - e[i][y][x]) for i in range(n) for y in range(h) for x in range(w - 1)]
    columns = [abs(e[i][y + 1][x] - e[i][y][x]) for i in range(n) for y in range(h - 1) for x in range(w)]
    assert c().item() == pytest.approx(value + slope * (sum(rows) / len(rows) + sum(columns) / len(columns)), rel=1e-9)
