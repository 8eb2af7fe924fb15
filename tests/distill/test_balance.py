# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The balance of the terms."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from short_run import options, rows

from ultralytics import YOLO
from ultralytics.distill.balance import BALANCES, Balance, Ratio
from ultralytics.distill.spelling import build_spelled, parse
from ultralytics.distill.training.step import Step, batch_factor


def number(value):
    """Return a loss with a graph."""
    return torch.tensor(float(value), requires_grad=True)


def show(balance, task, terms):
    """Show a balance one step and return its factor."""
    return float(balance(number(task), number(terms)))


def test_ratio_by_hand():
    """The factor is share x task / terms of running averages: (0.98 x 10 + 10) / (0.98 x 4 + 4), then half of it."""
    balance = Balance(Ratio(share=0.5))
    assert show(balance, 10, 4) == pytest.approx(0.5 * 10 / 4)
    assert show(balance, 20, 4) == pytest.approx(0.5 * (0.98 * 10 + 20) / (0.98 * 4 + 4))


def test_ratio_is_clamped_and_survives_a_broken_batch():
    """Tiny and huge terms stop at the clamp, zero terms leave 1, and a loss that is no number changes nothing."""
    assert show(Balance(Ratio(clamp=10)), 10, 1e-6) == 10
    assert show(Balance(Ratio(clamp=4)), 10, 1e6) == 0.25
    assert show(Balance(Ratio()), 10, 0) == 1
    balance = Balance(Ratio(share=1))
    assert show(balance, 6, 2) == 3 and show(balance, math.nan, 2) == 3


@pytest.mark.parametrize(
    "text, says",
    [
        ("ratio(share=0)", "above 0"),
        ("ratio(clamp=0.5)", "at least 1"),
        ("ratio(share=True)", "finite number"),
    ],
)
def test_bad_values(text, says):
    """One sentence names the argument, the value and what would do."""
    with pytest.raises(ValueError, match=f"'distill_balance={text.partition('(')[0]}.*'{text[6:-1]}' must be .*{says}"):
        build_spelled("distill_balance", parse("distill_balance", text, BALANCES))


@pytest.fixture
def step(make_model, make_step):
    """A student and a wider teacher; one term draws masks, two are settled, one goes through the head."""
    student, teacher = make_model(), make_model(width=0.1875, seed=1, trained=True)
    return make_step(student, teacher, distill_feat=["mgd", "cwd"], distill_logit="bckd(margin=0)", dlogit=3)


def with_rule(step, rule):
    """Return a copy of a step with a balance."""
    twin = copy.deepcopy(step)
    return Step(twin.model, twin.distiller, twin.teacher, rule)


def losses(step, batch):
    """Return the task loss of a step and each column on its scale; 8.3 logs and trains their sum alone."""
    task, _, columns = step.compute(batch)
    return [task.sum(), *(v * batch_factor(step.student, batch) for v in columns.values())]


def test_ratio_keeps_the_share(step, make_batch):
    """On the first batch the weighted terms are the share of the task loss."""
    task, feature, response = losses(with_rule(step, Ratio(share=0.25, clamp=1e6)), make_batch())
    assert ((feature + response) / task).item() == pytest.approx(0.25)


def test_state_goes_on():
    """A resumed run has the factor that the interrupted one would have had."""
    whole, first = (Balance(Ratio()) for _ in range(2))
    for x in (whole, first):
        show(x, 10, 4)
    second = Balance(Ratio())
    second.load_state(first.state(), torch.device("cpu"))
    assert show(whole, 30, 5) == show(second, 30, 5)


def test_a_run_logs_it(data_yaml, student_yaml, teacher_pt, tmp_path, log):
    """The factor is in the weights of results.csv from the first epoch on, the rule in the formula; off is 0."""
    more = {"model_t": str(teacher_pt), "distill_balance": "ratio(share=0.2)", "distill_stop": 1, "epochs": 2}
    more["distill_feat"] = "cwd"
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, **more))
    first, last = rows(tmp_path)
    assert first["distill/weight/cwd"] not in {0, 1} and last["distill/weight/cwd"] == 0
    assert any("ratio(share=0.2) x (1 x cwd" in x for x in log())
