# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A term that could teach nothing stops the run at its first batch."""

from __future__ import annotations

import pytest
import torch
from lines import named
from torch import nn


class Shows(nn.Module):
    """A user's loss that returns whatever it is told to."""

    def __init__(self, what: str = ""):
        """Keep what to return."""
        super().__init__()
        self.what, self.factor = what, nn.Parameter(torch.ones(()))

    def forward(self, student, teacher, batch):
        """Return one of the things that a loss may get wrong."""
        difference = (student - teacher).square()
        return {
            "detached": difference.mean().detach(),
            "own": difference.mean().detach() * self.factor,
            "zero": difference.mean() * 0,
            "nan": difference.mean() * float("nan"),
            "inf": difference.mean() / 0,
            "map": difference,
            "images": difference.mean((1, 2, 3)),
            "number": 1.0,
            "none": None,
            "pair": (difference.mean(), difference.mean()),
            "later": difference.mean(),
        }[self.what]


@pytest.mark.parametrize(
    "what, says",
    [
        ("detached", "is detached from the student"),
        ("own", "is detached from the student"),  # the loss trains its own layers, not the student
        ("zero", "is exactly zero on the first batch"),
        ("nan", "is nan on the first batch"),
        ("inf", "is inf on the first batch"),
        ("map", "is not a scalar tensor"),
        ("images", "is not a scalar tensor"),
        ("number", "is not a scalar tensor but 1.0"),
        ("none", "is not a scalar tensor but None"),
        ("pair", "is not a scalar tensor"),
    ],
)
def test_useless_terms_stop_the_run(what, says, make_model, make_step, make_batch):
    """A term that teaches nothing, or is no number, is an error at the first batch that names it and its layers."""
    c = make_step(make_model(), make_model(width=0.1875, seed=1), distill_layers=[[15, 18]],
                       distill_feat=f"{__name__}:Shows(what={what})")  # fmt: skip
    with pytest.raises(RuntimeError, match=rf"term 'Shows/15-18' \(student layer 15, teacher layer 18\) {says}"):
        c(make_batch())


@pytest.mark.parametrize("term, small", [({"distill_rel": "sp"}, {"n": 1}), ({"distill_feat": "cwd"}, {"size": 32})])
def test_a_small_first_batch_is_no_mistake(term, small, make_model, make_step, make_batch):
    """One image has no relations and one cell no distribution: zero is normal there, the next batch is checked."""
    c = make_step(make_model(), make_model(seed=1), **term)
    _, items = c(make_batch(**small))
    assert torch.isfinite(named(c, items)[c.columns[0]]) and c.take_means()[f"distill/{c.distiller.parts[-1]}"] == 0
    assert not c.checked
    c(make_batch())
    assert c.checked


def test_checked_once(make_model, make_step, make_batch):
    """Only the first batch is looked at that closely; later ones cost no synchronisation."""
    c = make_step(make_model(), make_model(seed=1), distill_feat=f"{__name__}:Shows(what=later)")
    c(make_batch())
    for loss in c.distiller.terms[0].losses:
        loss.what = "zero"
    c(make_batch())
