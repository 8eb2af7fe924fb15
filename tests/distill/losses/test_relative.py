# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Class scores relative to each other."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import Relative

LN3 = math.log(3)


def scores(*rows: list[float]) -> dict:
    """Return a dict of one image's logits, a row for each class."""
    return {"scores": torch.tensor(rows)[None]}


def test_where_by_hand():
    """One class at two anchors, t = (ln 3, 0), s = 0: KL((3/4, 1/4) || (1/2, 1/2)) = 0.1308120.

    v = sigmoid(ln 3) = 3/4, and Z = max(3/4, 1): 0.0981090.
    """
    assert Relative()(scores([0.0, 0.0]), scores([LN3, 0.0])).item() == pytest.approx(0.0981090)


def test_which_by_hand():
    """Two classes at one anchor, the same numbers: nothing to say of where, and w / Z = 3/4 for which. tau 2: times 4.

    A second image that sees the same makes Z = 3/2: (3/4 + 3/4) / (3/2) = 1 times 0.1308120.
    """
    assert Relative()(scores([0.0], [0.0]), scores([LN3], [0.0])).item() == pytest.approx(0.0981090)
    two = scores([0.0], [0.0]), scores([2 * LN3], [0.0])
    assert Relative(tau=2)(*two).item() == pytest.approx(4 * 0.1308120 * 0.9)  # sigmoid(2 ln 3) = 9/10
    batch = [{"scores": x["scores"].repeat(2, 1, 1)} for x in (scores([0.0], [0.0]), scores([LN3], [0.0]))]
    assert Relative()(*batch).item() == pytest.approx(0.1308120)


@pytest.mark.parametrize("params", [{}, {"tau": 2.0}, {"alpha": 0.3}, {"tau": 3.0, "alpha": 0.6}])
def test_loop(case, params):
    """The formula, distribution by distribution, labels mixed in where there are some."""
    c = case("relative", **params)
    s, t, label = c.student["scores"], c.teacher["scores"], c.student["target_scores"]
    label[0, :, 3] = 0  # an anchor without a label
    label[1, 2] = 0  # a class that the image does not have
    expected = 0
    for dim, weight in ((1, t.sigmoid().max(1).values), (2, t.sigmoid().max(2).values)):
        weighted = 0
        for i in range(len(s)):
            for j in range(weight.shape[1]):
                a, b, y = (x[i].select(2 - dim, j) for x in (s, t, label))
                q = (b / c.loss.tau).softmax(0)
                q = c.loss.alpha * q + (1 - c.loss.alpha) * y / y.sum() if y.sum() > 0 else q
                weighted += weight[i, j] * (q * (q / (a / c.loss.tau).softmax(0)).log()).sum() * c.loss.tau**2
        expected += weighted / max(weight.sum(), 1)
    torch.testing.assert_close(c(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_outside(case, oracle, tau):
    """With one class it is mmrazor's ChannelWiseDivergence on logits, where all images are equally sure."""
    theirs = oracle("mmrazor/models/losses/cwd.py").ChannelWiseDivergence(tau=tau, loss_weight=1.0)
    c = case("relative", nc=1, tau=tau)
    c.teacher["scores"] += 9 - c.teacher["scores"].amax(2, keepdim=True)
    pair = [x["scores"].unflatten(2, (1, -1)) for x in (c.student, c.teacher)]
    torch.testing.assert_close(c(), theirs(*pair))


@pytest.mark.parametrize("nc", [1, 3])
def test_level_is_not_seen(case, nc):
    """All logits of the student higher by a number change neither value nor gradient; one class alone does."""
    c = case("relative", nc=nc)
    x = c.student["scores"].requires_grad_()
    before = c()
    c.student["scores"] = x + 3
    torch.testing.assert_close(c(), before)
    assert torch.autograd.grad(c(), x)[0].sum().abs() < 1e-9
    if nc > 1:
        c.student["scores"] = x + torch.tensor([0.0, 3.0, 0.0])[:, None]
        assert abs(c() - before) > 0.1


@pytest.mark.parametrize("nc", [1, 3])
def test_standardized(case, nc):
    """Level and spread of the student's logits are not seen; the weights are those of the teacher's own scores."""
    c = case("relative", nc=nc, standardize=True, tau=2.0)
    s, t = (x["scores"] for x in (c.student, c.teacher))
    expected = 0
    for dim in (1, 2)[nc == 1 :]:
        a, b = ((x - x.mean(dim, True)) / x.std(dim, correction=0, keepdim=True) / 2 for x in (s, t))
        q, w = b.softmax(dim), t.amax(dim).sigmoid()
        expected += ((q * (q / a.softmax(dim)).log()).sum(dim) * w).sum() / w.sum().clamp(min=1) * 4
    torch.testing.assert_close(c(), expected, rtol=1e-4, atol=0)
    c.student["scores"] = 3 * s + 5
    torch.testing.assert_close(c(), expected, rtol=1e-4, atol=0)
    c.student["scores"] = 2 * t - 3
    assert c() < 1e-6 < Relative(tau=2)(c.student, c.teacher)
