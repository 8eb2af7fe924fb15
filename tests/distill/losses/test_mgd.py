# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Masked generative distillation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ultralytics.distill.losses import MGD


def test_by_hand():
    """G changes nothing, S = T, the mask hides the one position of value 4: error 16, times 0.1, over 2 images: 0.8."""
    loss = MGD(alpha_mgd=0.1, channels_t=1)
    for conv in (loss.generator[0], loss.generator[2]):
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)
    loss.mask = lambda teacher: torch.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 1, 2, 2)
    maps = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]]).view(2, 1, 2, 2)
    assert loss(maps, maps).item() == pytest.approx(0.8)


def test_mmrazor(case, oracle):
    """Behind the generator it is mmrazor's MGDLoss."""
    theirs = oracle("mmrazor/models/losses/mgd_loss.py").MGDLoss(alpha_mgd=3e-3)
    c = case("mgd", alpha_mgd=3e-3)
    made = c.loss.generator(c.student * c.loss.mask(c.teacher))
    torch.testing.assert_close(c(), theirs(made, c.teacher), rtol=1e-9, atol=0)


def test_mask():
    """A share lambda_mgd of the positions is hidden, for all channels alike, anew each time, from torch's generator."""
    loss, maps = MGD(lambda_mgd=0.65, channels_t=2), torch.randn(4, 2, 50, 50)
    torch.manual_seed(0)
    mask, other = loss.mask(maps), loss.mask(maps)
    assert mask.shape == (4, 1, 50, 50) and set(mask.unique().tolist()) == {0.0, 1.0}
    assert (mask == 0).float().mean().item() == pytest.approx(0.65, abs=0.02)
    assert not torch.equal(mask, other)
    torch.manual_seed(0)
    assert torch.equal(mask, loss.mask(maps))
    assert MGD(lambda_mgd=0, channels_t=2).mask(maps).all()


def test_hidden_positions_get_no_gradient_from_themselves():
    """The student's map is masked, not the teacher's: with everything but one pixel hidden, only that pixel learns."""
    loss = MGD(channels_t=2)
    loss.mask = lambda teacher: torch.eye(9)[4].view(1, 1, 3, 3)
    student = torch.randn(1, 2, 3, 3, requires_grad=True)
    loss(student, torch.randn(1, 2, 3, 3)).backward()
    assert student.grad.flatten(2).abs().sum((0, 1)).nonzero().flatten().tolist() == [4]


def test_generator_is_registered():
    """Copies that circulate keep the generator in a plain list, where it is neither trained nor saved."""
    loss = MGD(channels_t=3)
    assert sum(p.numel() for p in loss.parameters()) == 2 * (3 * 3 * 9 + 3)
    assert set(loss.state_dict()) == {f"generator.{i}.{k}" for i in (0, 2) for k in ("weight", "bias")}
