"""A teacher made of a live model, and what must not change in that model."""

from pathlib import Path

import torch

from ultralytics.distill.graph import head_inputs
from ultralytics.distill.teacher.frozen import Teacher
from ultralytics.distill.teacher.source import Source

CPU = torch.device("cpu")


def make_teacher(model, layers=None, head=True, features=False, dtype=torch.float32):
    """Wrap a live model."""
    layers = head_inputs(model) if layers is None else layers
    return Teacher(Source(model, Path("teacher.pt"), live=True), layers, head, features, CPU, dtype)


def snapshot(model):
    """Return all that must not change in a user's model."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [(n, m.training, type(m).__name__) for n, m in model.named_modules()]
    return state, flags, [p.requires_grad for p in model.parameters()]


def unchanged(model, before):
    """Whether a model equals its snapshot."""
    state, *flags = snapshot(model)
    return list(before[1:]) == flags and state.keys() == before[0].keys() and all(
        torch.equal(v, before[0][k]) for k, v in state.items()
    )  # fmt: skip
