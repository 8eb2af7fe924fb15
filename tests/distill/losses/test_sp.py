# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Similarity-preserving distillation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ultralytics.distill.losses import SP


def test_by_hand():
    """S = (1, 0), (0, 1): G = I. T = (1, 0), (3, 4): G = (1, 3), (3, 25); rows of length 1: / sqrt 10, / sqrt 634.

    Rows: (0.316228, 0.948683), (0.119145, 0.992877). Squares 0.467544 + 0.9 + 0.014196 + 0.000051, over 4: 0.345448.
    Cosine: off the diagonal 0 against 0.6, 0.36.
    """
    student, teacher = torch.eye(2).view(2, 2, 1, 1), torch.tensor([[1.0, 0.0], [3.0, 4.0]]).view(2, 2, 1, 1)
    assert SP()(student, teacher).item() == pytest.approx(0.345448, abs=1e-6)
    assert SP(form="cosine")(student, teacher).item() == pytest.approx(0.36, abs=1e-6)


def test_torchdistill(case, oracle, monkeypatch):
    """The rows form is torchdistill's SPKDLoss, once its rows have length 1 as in the paper.

    It calls `normalize(G, 1)`, where 1 is not the dimension but the norm's order, so its rows sum to 1 instead.
    """
    file = oracle("torchdistill/losses/mid_level.py")
    monkeypatch.setattr(file, "normalize", lambda g, _: F.normalize(g, dim=1))
    theirs = file.SPKDLoss(".", ".", "batchmean")
    c = case("sp", n=5)
    got = theirs({".": {"output": c.student}}, {".": {"output": c.teacher}})
    torch.testing.assert_close(c(), got, rtol=1e-9, atol=0)


def test_cosine_loop(case):
    """Pair by pair of different images."""
    c = case("sp", n=4, form="cosine")
    s, t = (x.mean((2, 3)) for x in (c.student, c.teacher))
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    total = sum((F.cosine_similarity(s[i], s[j], 0) - F.cosine_similarity(t[i], t[j], 0)) ** 2 for i, j in pairs)
    torch.testing.assert_close(c(), total / len(pairs), rtol=1e-6, atol=0)


def test_cosine_leaves_out_the_diagonal():
    """An image is not compared with itself: zero maps have no length, but relate to each other as the teacher's do."""
    assert SP(form="cosine")(torch.zeros(2, 2, 1, 1), torch.eye(2).view(2, 2, 1, 1)).item() == 0
