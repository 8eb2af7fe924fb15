# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The balance of the terms, and what is told of their gradients."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from lines import learners
from short_run import options, rows

from ultralytics import YOLO
from ultralytics.distill.balance import BALANCES, Balance, Grad, Ratio
from ultralytics.distill.spelling import parse
from ultralytics.distill.training.step import Step, batch_factor


def number(value):
    """Return a loss with a graph."""
    return torch.tensor(float(value), requires_grad=True)


def show(balance, task, terms):
    """Show a balance one step without maps and return its factor."""
    return float(balance(number(task), {"dfea_loss": number(terms)}, {}))


def test_ratio_by_hand():
    """The factor is share x task / terms of running averages: (0.98 x 10 + 10) / (0.98 x 4 + 4), then half of it."""
    balance = Balance(Ratio(share=0.5), ["dfea_loss"])
    assert show(balance, 10, 4) == pytest.approx(0.5 * 10 / 4)
    assert show(balance, 20, 4) == pytest.approx(0.5 * (0.98 * 10 + 20) / (0.98 * 4 + 4))


def test_ratio_is_clamped_and_survives_a_broken_batch():
    """Tiny and huge terms stop at the clamp, zero terms leave 1, and a loss that is no number changes nothing."""
    assert show(Balance(Ratio(clamp=10), ["dfea_loss"]), 10, 1e-6) == 10
    assert show(Balance(Ratio(clamp=4), ["dfea_loss"]), 10, 1e6) == 0.25
    assert show(Balance(Ratio(), ["dfea_loss"]), 10, 0) == 1
    balance = Balance(Ratio(share=1), ["dfea_loss"])
    assert show(balance, 6, 2) == 3 and show(balance, math.nan, 2) == 3


@pytest.mark.parametrize(
    "text, says",
    [
        ("ratio(share=0)", "above 0"),
        ("ratio(clamp=0.5)", "at least 1"),
        ("grad(every=0)", "whole number of at least 1"),
        ("grad(every=2.5)", "whole number"),
        ("ratio(share=True)", "finite number"),
    ],
)
def test_bad_values(text, says):
    """One sentence names the argument, the value and what would do."""
    spelled = parse("distill_balance", text, BALANCES)
    with pytest.raises(ValueError, match=f"'distill_balance={text.partition('(')[0]}.*{says}"):
        spelled.cls(**spelled.params)


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


def norms(step, batch, layer):
    """Return the norms of the gradients of task loss and columns at a layer's map, as backward itself has them."""
    kept = []
    handle = step.student.model[layer].register_forward_hook(lambda m, args, out: kept.append(out))
    torch.manual_seed(0)
    task, feature, response = losses(step, dict(batch))
    handle.remove()
    parts = [task, feature, response, feature + response]
    return [torch.autograd.grad(x, kept[0], retain_graph=True)[0].norm().item() for x in parts]


def test_looking_changes_nothing(step, make_batch):
    """`grad(clamp=1)` measures and balances nothing: every weight gets the same gradient, bit by bit, as without."""
    found = []
    for rule in (Grad(clamp=1, every=1), None):
        twin = with_rule(step, rule)
        torch.manual_seed(0)
        twin(make_batch())[0].sum().backward()
        found.append([p.grad for p in learners(twin).parameters()])
        assert ("distill/grad/dfea" in twin.balance.take(twin.weight)) == bool(rule)
        assert set(twin.weights.take(1, 1).values()) == {1.0}
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(*found))


@pytest.mark.parametrize("rule", [None, Ratio()])
def test_nothing_is_measured_unasked(rule, step, make_batch, monkeypatch):
    """Without `grad` no gradient is looked at, and none is told of."""
    monkeypatch.setattr(Balance, "look", None)
    twin = with_rule(step, rule)
    twin(make_batch())
    assert twin.balance.take(twin.weight) == {}


def test_tells_the_gradients_that_backward_has(step, make_batch):
    """`distill/grad/...` is each column over the task loss at P3, where P4 and P5 come from, with today's weight."""
    step = with_rule(step, Grad(clamp=1))
    step.weight = 0.5
    task, feature, response, _ = norms(step, make_batch(), layer=15)
    told = step.balance.take(step.weight)
    assert step.balance.place == 15
    assert told["distill/grad/dfea"] == pytest.approx(feature / task, rel=1e-3)
    assert told["distill/grad/dlogit"] == pytest.approx(response / task, rel=1e-3)


def test_grad_keeps_the_share(step, make_batch):
    """All terms together pull with the share that was asked for, and the gains still part it among them."""
    twin = with_rule(step, Grad(share=0.3, clamp=1e6, every=1))
    task, feature, response, together = norms(twin, make_batch(), layer=15)
    assert together / task == pytest.approx(0.3, rel=1e-3)
    before = norms(step, make_batch(), layer=15)
    assert feature / response == pytest.approx(before[1] / before[2], rel=1e-3)
    told = twin.balance.take(twin.weight)
    assert twin.weights.take(1, 1)["distill/weight/bckd"] == pytest.approx(together / before[3], rel=1e-3)
    assert told["distill/grad/dfea"] == pytest.approx(feature / task, rel=1e-3)


def test_ratio_keeps_the_share(step, make_batch):
    """On the first batch the weighted terms are the share of the task loss."""
    task, feature, response = losses(with_rule(step, Ratio(share=0.25, clamp=1e6)), make_batch())
    assert ((feature + response) / task).item() == pytest.approx(0.25)


def test_looks_where_every_term_reaches(make_model, make_step, make_batch):
    """A term at layer 4 does not reach the head's inputs, so the look is taken at layer 4; as rarely as it should."""
    student, teacher, rule = make_model(), make_model(width=0.1875, seed=1, trained=True), Grad(clamp=1, every=2)
    step = with_rule(make_step(student, teacher, distill_feat="cwd", distill_layers=[4, 15]), rule)
    for _ in range(2):
        step(make_batch())
    assert step.balance.place == 15  # the pair at 15 does
    step = make_step(student, teacher, distill_feat="cwd", distill_logit="bckd", distill_layers=[4])
    step = with_rule(step, rule)
    step(make_batch())
    assert step.balance.place == 4 and step.balance.take(step.weight)["distill/grad/dfea"] > 0


def test_state_goes_on():
    """A resumed run has the factor that the interrupted one would have had."""
    whole, first = (Balance(Ratio(), ["dfea_loss"]) for _ in range(2))
    for x in (whole, first):
        show(x, 10, 4)
    second = Balance(Ratio(), ["dfea_loss"])
    second.load_state(first.state(), torch.device("cpu"))
    assert show(whole, 30, 5) == show(second, 30, 5)


def test_gradients_last_seen_go_on():
    """A resumed run tells the gradients that were seen before, until it looks again; a run of old kept none."""
    first, second = (Balance(Grad(every=9), ["dfea_loss"]) for _ in range(2))
    first.step, first.ratios = 4, torch.tensor([0.5])
    second.load_state(first.state(), torch.device("cpu"))
    assert second.take(1.0) == {"distill/grad/dfea": 0.5} and second.step == 4
    second.load_state({"step": 4, "averages": None}, torch.device("cpu"))
    assert math.isnan(second.take(1.0)["distill/grad/dfea"])


def test_a_run_logs_it(data_yaml, student_yaml, teacher_pt, tmp_path, log):
    """The columns stand in results.csv from the first epoch on, the rule in the formula; off at the end is 0."""
    more = {"model_t": str(teacher_pt), "distill_balance": "grad(share=0.2, every=2)", "distill_stop": 1, "epochs": 2}
    more["distill_feat"] = "cwd"
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, **more))
    first, last = rows(tmp_path)
    assert first["distill/grad/dfea"] > 0 and first["distill/grad/dlogit"] > 0 and first["distill/weight/cwd"] > 0
    assert last["distill/grad/dfea"] == last["distill/grad/dlogit"] == last["distill/weight/cwd"] == 0
    assert any("grad(share=0.2, every=2) x (1 x cwd" in x for x in log())
