"""Upstream 8.3 beside 8.4: what it cannot do, for skips with a sentence, and what it has in another form."""

import pytest
from torch import nn

from ultralytics import __version__
from ultralytics.distill.upstream import LINE


def needs_84(lacks):
    """Return a mark that skips on 8.3, saying what it lacks, e.g. `has no compile`."""
    return pytest.mark.skipif(LINE == "8.3", reason=f"Ultralytics {__version__} {lacks}")


def skip_missing(name):
    """Skip if 8.3 has no such model; on 8.4 a wrong name stays an error."""
    if LINE == "8.3":
        pytest.skip(f"Ultralytics {__version__} has no {name}")
    raise FileNotFoundError(name)


def learners(step):
    """Return all that is trained in a step, by name."""
    found = {"student": step.student, "distiller": step.distiller, **({"teacher": step.teacher} if step.online else {})}
    return nn.ModuleDict(found)


def listed(items):
    """Return what a step logs as a list; in 8.3 it is a tensor."""
    return list(items.values()) if isinstance(items, dict) else list(items.view(-1))


def named(step, items):
    """Return what a step logs of the terms by column."""
    return dict(zip(step.columns, listed(items)[-len(step.columns) :]))
