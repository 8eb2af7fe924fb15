# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What each term weighs over a run: in `results.csv`, in a line when it falls, and beside a balance."""

from __future__ import annotations

import pytest
import torch

from ultralytics.distill.balance import Balance, Ratio
from ultralytics.distill.report.curves import taught
from ultralytics.distill.terms.several import SeveralDistillers
from ultralytics.distill.terms.weights import Weights


def epoch(weights, number, *margins, schedule=1.0):
    """Show an epoch's steps, in each of which `ld` has a margin and `cwd` nothing of its own; return its columns."""
    for margin in margins:
        factors = {"ld": {"branch": 0.5, "teacher margin": torch.tensor(margin)}, "cwd": {}}
        weights.add(factors, {"schedule": schedule, "balance": 2.0})
    return weights.take(number, 9)


def test_mean_of_the_steps():
    """Schedule x balance x branch x margin, averaged over the epoch; each epoch starts anew."""
    weights = Weights()
    found = epoch(weights, 1, 1.0, 0.5)
    assert found == pytest.approx({"distill/weight/ld": 0.75, "distill/weight/cwd": 2.0})
    assert epoch(weights, 2, 0.2)["distill/weight/ld"] == pytest.approx(0.2)
    assert weights.take(3, 9) == {}  # no step was taken


def test_a_fall_is_told_once(log):
    """A line each when a term falls below a half and below a hundredth: with what weighs it, and not again."""
    weights = Weights()
    for number, margin in enumerate((1.0, 0.4, 0.3, 0.9, 0.2, 0.001, 1.0, 0.001), 1):
        epoch(weights, number, margin)
    said = [x for x in log() if "down-weighted" in x]
    assert said == [
        "Distillation: ld is down-weighted to 0.4 of its gain in epoch 2: branch 0.5, teacher margin 0.4",
        "Distillation: ld is down-weighted to 0.001 of its gain in epoch 6: branch 0.5, teacher margin 0.001",
    ]


def test_a_fall_of_all_is_one_line(log):
    """A schedule that ends takes all terms along: one line; what was never in force has not fallen."""
    weights = Weights()
    for number, schedule in enumerate((0.1, 1.0, 0.0), 1):  # a warm-up first
        weights.add({"ld": {}, "cwd": {}}, {"schedule": schedule})
        weights.take(number, 9)
    (said,) = [x for x in log() if "down-weighted" in x]
    assert said == "Distillation: ld, cwd are down-weighted to 0 of their gain in epoch 3: schedule 0"


def test_epochs_that_taught():
    """The report's line: the epochs in which a term weighed something, and its mean; terms alike stand together."""
    columns = {"epoch": [1, 2, 3, 4], "distill/weight/ld": [1, 0.5, 0, 0.5], "distill/weight/cwd": [1.0] * 4,
               "distill/weight/giou": [1.0] * 4, "distill/weight/old": [float("nan")] * 4}  # fmt: skip
    assert taught(columns) == (
        "Losses at work in 4 epochs: ld in epochs 1-2, 4 (mean weight 0.5); cwd, giou in epochs 1-4 (mean weight 1)."
    )
    assert taught({"epoch": [1]}) == ""
    assert "ld in no epoch (mean weight 0)" in taught({"epoch": [1, 2], "distill/weight/ld": [0.0, 0.0]})


def test_a_balance_leaves_the_margin_in_force(make_model, make_step, make_batch):
    """A teacher that is hardly ahead teaches little: the balance does not lift its terms again."""
    student, teacher = make_model(), make_model(width=0.1875, seed=1, trained=True)
    found = []
    for ahead in (1.0, 0.003, -1.0):
        step = make_step(student, teacher, distill_logit="giou")
        step.balance = Balance(Ratio(share=0.5, clamp=1e6))
        (margin,) = step.distiller.margins.values()
        margin.look = lambda *branches, m=margin, a=ahead: m.seen.copy_(torch.tensor([0.0, a, 1.0]))
        column = step.compute(make_batch())[2]["dlogit_loss"]
        found.append((column.item(), step.weights.take(1, 1)["distill/weight/giou"]))
    (full, weight), (tenth, less), (nothing, none) = found
    assert tenth == pytest.approx(0.1 * full, rel=0.1) and less == pytest.approx(0.1 * weight, rel=0.1)
    assert full > 0 and nothing == none == 0


def test_several_teachers(make_model, make_distiller):
    """Each teacher's terms are named like its columns, and what they add up to is known without weights."""
    student = make_model("yolov8n.yaml")
    each = [make_distiller(student, make_model("yolov8n.yaml", seed=i), distill_logit="giou") for i in (1, 2)]
    both = SeveralDistillers(each, ["a.pt", "b.pt"])
    assert list(both.term_weights()) == ["t1/giou", "t2/giou"]
