# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What each batch of a run begins with: the weight of its terms."""

from types import SimpleNamespace

import pytest

from ultralytics.distill.schedule import Constant, Linear
from ultralytics.distill.training.run import begin_batch


def weight(epoch, batch=0, schedule=None, stop=0, own=False):
    """Return the weight at a batch of ten epochs of four; `own` is a run whose teacher is the student's average."""
    step = SimpleNamespace(weight=None, arm=lambda: None)
    run = SimpleNamespace(step=step, batch=batch - 1, schedule=schedule or Constant(), unlabeled=None)
    run.configs, run.sources = [SimpleNamespace(stop=stop)], [SimpleNamespace(module=None if own else "teacher")]
    run.optimizer = SimpleNamespace(begin_batch=lambda: None)
    begin_batch(SimpleNamespace(distill=run, tloss=0.0, train_loader=range(4), epoch=epoch, epochs=10), {})
    return step.weight


def test_the_schedule_moves_with_every_batch():
    """Half of the run is half of the way, and each batch a fortieth of it."""
    found = [weight(5, b, Linear(end=0)) for b in range(4)]
    assert found == pytest.approx([0.5, 0.475, 0.45, 0.425])


def test_the_last_epochs_are_without_terms():
    """Of ten epochs with `distill_stop=3` the seventh is the last with terms."""
    assert [weight(e, 3, stop=3) for e in (5, 6, 7, 9)] == [1, 1, 0, 0]


def test_an_average_teaches_little_at_first():
    """Its weight grows in a straight line over the first fifth of the run, on top of the schedule."""
    assert [weight(e, own=True) for e in (0, 1, 2, 9)] == pytest.approx([0, 0.5, 1, 1])
    assert weight(1, 2, Linear(end=0), own=True) == pytest.approx(0.75 * 0.85)
