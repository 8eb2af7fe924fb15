# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Work beside a training that leaves no trace in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn


def preserve_random(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context after which the generators of the CPU and of a device are as before."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


@contextmanager
def eval_mode(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Run a model in eval mode and without gradients; its modes and the random state are as before afterwards."""
    modes = {m: getattr(m, "training", False) for m in model.modules()}  # a frozen trace has no mode
    try:
        with preserve_random(device), torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
