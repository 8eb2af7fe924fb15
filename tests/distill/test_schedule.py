# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The weight of the terms over a run."""

from __future__ import annotations

import pytest

from ultralytics.distill.schedule import SCHEDULES
from ultralytics.distill.spelling import parse


def schedule(text):
    """Build a schedule from its spelling."""
    spelled = parse("distill_schedule", text, SCHEDULES)
    return spelled.cls(**spelled.params)


@pytest.mark.parametrize(
    "text, start, middle, end",
    [
        ("constant", 1, 1, 1),
        ("cosine", 1, 0.55, 0.1),
        ("cosine(end=0)", 1, 0.5, 0),
        ("linear", 1, 0.55, 0.1),
        ("linear(end=0.5)", 1, 0.75, 0.5),
        ("linear(end=2)", 1, 1.5, 2),
        ("warmup", 0, 1, 1),
        ("warmup(share=1)", 0, 0.5, 1),
        ("warmup(share=0)", 1, 1, 1),
        ("sawtooth", 1, 0.55, 0.1),
    ],
)
def test_values(text, start, middle, end):
    """Each schedule has its weight at the start, the middle and the end, and takes its parameters in brackets."""
    f = schedule(text)
    assert [f(x, x) for x in (0.0, 0.5, 1.0)] == pytest.approx([start, middle, end])


def test_cosine_is_no_line():
    """A quarter on, the cosine has lost less than the line."""
    assert schedule("cosine(end=0)")(0.25, 0) == pytest.approx(0.8535534)
    assert schedule("linear(end=0)")(0.25, 0) == pytest.approx(0.75)


def test_warmup_reaches_one_at_its_share():
    """The ramp ends at the share of the run that was asked for, and stays."""
    f = schedule("warmup(share=0.2)")
    assert [f(x, 0) for x in (0.1, 0.2, 0.9)] == pytest.approx([0.5, 1, 1])


@pytest.mark.parametrize(
    "text", ["cosine(end=-0.1)", "linear(end=low)", "sawtooth(end=True)", "warmup(share=1.5)", "warmup(share=None)"]
)
def test_parameters_out_of_range(text):
    """A parameter that is no number in range is refused at the start, not in the middle of the run."""
    with pytest.raises(ValueError, match=f"'{text.partition('(')[2][:-1]}' must be a finite number"):
        schedule(text)


@pytest.mark.parametrize("name", SCHEDULES)
def test_only_the_sawtooth_sees_the_epoch(name):
    """The sawtooth begins anew with every epoch and does not see the run; the others do not see the epoch."""
    f = schedule(name)
    runs, epochs = {f(x, 0.3) for x in (0.05, 0.5, 1.0)}, {f(0.5, x) for x in (0.0, 0.5, 1.0)}
    assert (len(runs), len(epochs)) == {"constant": (1, 1), "sawtooth": (1, 3), "warmup": (2, 1)}.get(name, (3, 1))


@pytest.mark.parametrize(
    "text, says", [("step", "constant, cosine, linear, warmup, sawtooth"), ("linear(to=1)", "end")]
)
def test_unknown_schedule(text, says):
    """Unknown names and parameters are answered with the valid ones."""
    with pytest.raises(ValueError, match=says):
        schedule(text)
