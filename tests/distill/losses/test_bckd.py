# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Binary classification distillation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from ultralytics.distill.losses import BCKD


def scores(*p: float) -> dict:
    """Return a dict of one image's logits for probabilities of one class."""
    return {"scores": torch.tensor(p).logit().view(1, 1, -1)}


def test_by_hand():
    """Two anchors with p = 1/2, q = 3/4: each |q - p| * BCE = 1/4 * ln 2 = 0.1732868, together 0.3465736.

    Z = 3/4 + 3/4 = 1.5: 0.2310491. One anchor has Z = max(3/4, 1) = 1: 0.1732868. beta 2: 1/16 * ln 2 = 0.0433217.
    """
    assert BCKD()(scores(0.5, 0.5), scores(0.75, 0.75)).item() == pytest.approx(0.2310491)
    assert BCKD()(scores(0.5), scores(0.75)).item() == pytest.approx(0.1732868)
    assert BCKD(beta=2)(scores(0.5), scores(0.75)).item() == pytest.approx(0.0433217)


def test_npos_by_hand():
    """Four such anchors over the assigner's three positives: 4 * 0.1732868 / 3."""
    student = scores(0.5, 0.5, 0.5, 0.5) | {"fg_mask": torch.tensor([[True, True, False, True]])}
    teacher = scores(0.75, 0.75, 0.75, 0.75)
    assert BCKD(norm="npos")(student, teacher).item() == pytest.approx(4 * 0.1732868 / 3)
    student["fg_mask"][:] = False
    assert BCKD(norm="npos")(student, teacher).item() == pytest.approx(4 * 0.1732868)


def test_mix_by_hand():
    """Share 0.6 of q = 3/4, the rest of y = 1: target 0.85. |0.35| * ln 2 each; Z stays the teacher's 1.5."""
    student = scores(0.5, 0.5) | {"target_scores": torch.ones(1, 1, 2)}
    value = BCKD(alpha=0.6)(student, scores(0.75, 0.75))
    assert value.item() == pytest.approx(2 * 0.35 * math.log(2) / 1.5)


def test_extra_anchors_of_background_change_nothing():
    """Anchors where both models see nothing neither add to the sum nor dilute it, unlike in a mean."""
    nothing = [1e-6] * 1000
    assert BCKD()(scores(0.5, 0.5, *nothing), scores(0.75, 0.75, *nothing)).item() == pytest.approx(0.231, abs=1e-3)


@pytest.mark.parametrize("params", [{}, {"beta": 2.0}, {"alpha": 0.3}, {"norm": "npos", "beta": 1.5}])
def test_loop(case, params):
    """The formula, anchor by anchor and class by class."""
    c = case("bckd", **params)
    p, q = (d["scores"].sigmoid() for d in (c.student, c.teacher))
    total, weights = 0, 0
    for i in range(q.shape[0]):
        for a in range(q.shape[2]):
            weights += c.student["fg_mask"][i, a] if c.loss.norm == "npos" else max(q[i, :, a])
            for k in range(q.shape[1]):
                target = c.loss.alpha * q[i, k, a] + (1 - c.loss.alpha) * c.student["target_scores"][i, k, a]
                total += (target - p[i, k, a]).abs() ** c.loss.beta * binary_cross_entropy(p[i, k, a], target)
    torch.testing.assert_close(c(), total / max(weights, 1), rtol=1e-6, atol=0)


def test_classification_is_a_mean_over_images():
    """Scores (N, nc): a classifier's confidence says nothing about how many objects there are."""
    student, teacher = {"scores": torch.zeros(2, 1)}, {"scores": torch.full((2, 1), math.log(3))}
    assert BCKD()(student, teacher).item() == pytest.approx(0.1732868)
    student["target_scores"] = torch.ones(2, 1)
    assert BCKD(alpha=0.6)(student, teacher).item() == pytest.approx(0.35 * math.log(2))


def test_only_what_is_read_is_widened():
    """A dict's other entries are not copied to float32."""
    loss, boxes = BCKD(), torch.zeros(1, 64, 2, dtype=torch.float16)
    assert loss.prepare(scores(0.5, 0.5) | {"boxes": boxes})["boxes"] is boxes
