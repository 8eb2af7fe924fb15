# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Feature mimicking."""

from __future__ import annotations

import pytest
import torch

from ultralytics.distill.losses import Mimic


def test_by_hand():
    """Differences 1, -2, 3, -4: squares have mean 30 / 4 = 7.5, sizes 10 / 4 = 2.5."""
    student, teacher = torch.tensor([1.0, -2.0, 3.0, -4.0]).view(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    assert Mimic()(student, teacher).item() == pytest.approx(7.5)
    assert Mimic(p=1)(student, teacher).item() == pytest.approx(2.5)


def test_mmrazor(case, oracle):
    """They are mmrazor's L2Loss and L1Loss, without its normalisation and over the mean instead of the sum."""
    l1 = oracle("mmrazor/models/losses/l1_loss.py").L1Loss(reduction="mean")
    l2 = oracle("mmrazor/models/losses/l2_loss.py").L2Loss(normalize=False, dist=False)
    c = case("mimic", p=1)
    torch.testing.assert_close(c(), l1(c.student, c.teacher), rtol=1e-9, atol=0)
    c = case("mimic")
    per_image = c.student[0].numel()  # theirs is the sum over the images' number
    torch.testing.assert_close(c() * per_image, l2(c.student, c.teacher), rtol=1e-9, atol=0)
