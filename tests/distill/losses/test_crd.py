# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Contrastive distillation, and the batch of one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.distill.losses import CRD, RELATION, relation


def plain(n: int = 2, temperature: float = 1.0) -> CRD:
    """Return a CRD whose embeddings change nothing."""
    loss = CRD(channels_s=n, channels_t=n, dim=n, temperature=temperature)
    for layer in (loss.embed_s, loss.embed_t):
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    return loss


def test_by_hand():
    """Embeddings (1, 0), (0, 1) of both: cosines 1 and 0, log(1 + exp(-1)) = 0.3132617, the floor at temperature 1.

    With the student's two swapped: log(1 + exp(1)) = 1.3132617. At temperature 0.07 the floor is log(1 + exp(-14.29)).
    """
    maps = 5 * torch.eye(2).view(2, 2, 1, 1)
    assert plain()(maps, maps).item() == pytest.approx(0.3132617, abs=1e-6)
    assert plain()(maps.flip(0), maps).item() == pytest.approx(1.3132617, abs=1e-6)
    assert 0 < plain(temperature=0.07).double()(maps.double(), maps.double()).item() < 1e-6


def test_nothing_told_apart():
    """All-zero maps leave the biases alone: log N."""
    value = CRD(channels_s=3, channels_t=4)(torch.zeros(5, 3, 2, 2), torch.zeros(5, 4, 2, 2))
    assert value.item() == pytest.approx(torch.tensor(5.0).log().item())


def test_loop(case):
    """The formula, image by image."""
    c = case("crd", n=4, dim=6)
    z_s, z_t = (
        F.normalize(e(x.mean((2, 3))), dim=1) for e, x in ((c.loss.embed_s, c.student), (c.loss.embed_t, c.teacher))
    )
    total = 0
    for i in range(4):
        e = [(z_s[i] @ z_t[j] / 0.07).exp() for j in range(4)]
        total -= (e[i] / sum(e)).log()
    torch.testing.assert_close(c(), total / 4, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", RELATION)
def test_batch_of_one(case, name, monkeypatch):
    """One image: exactly zero, whatever the values, part of the graph of student and own layers, and said once."""
    said = []
    monkeypatch.setattr(relation.LOGGER, "warning", said.append)
    c = case(name, n=1)
    c.student.fill_(float("inf")).requires_grad_()
    for _ in range(2):
        value = c()
        value.backward()
        assert value.item() == 0
    assert not c.student.grad.any()
    assert all(p.grad is not None and not p.grad.any() for p in c.loss.parameters())
    assert len(said) == 1 and said[0].startswith(f"{name} ") and "nothing to compare" in said[0]
