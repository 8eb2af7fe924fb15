# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Works a term's gradient out along with its value, so that nothing of the term waits in memory for backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ultralytics.distill.losses.analytic import KnownGradient


def precompute_gradient(compare: Callable[[torch.Tensor], Any], student: torch.Tensor, own: nn.Module) -> Any:
    """Return `compare(student)` with its gradient worked out at once.

    The maps in between are freed before the next term is computed, instead of waiting for the whole backward: what is
    kept is one gradient of the student's map, and those of the term's own weights.

    Args:
        compare (Callable): Takes the student's map, returns a scalar.
        student (torch.Tensor): Map (N, C, H, W), with its graph.
        own (nn.Module): What `compare` runs; its weights are given their gradients too.

    Returns:
        (Any): What `compare` returned; as it is where that is no scalar with a gradient, for the caller to refuse.
    """
    if not (student.requires_grad and torch.is_grad_enabled()):
        return compare(student)
    leaf = student.detach().float().requires_grad_()
    value = compare(leaf)
    if not (isinstance(value, torch.Tensor) and value.ndim == 0 and value.requires_grad):
        return value
    inputs = [student, *(p for p in own.parameters() if p.requires_grad)]
    found = torch.autograd.grad(value, [leaf, *inputs[1:]], allow_unused=True)
    used = [(g, x) for g, x in zip(found, inputs) if g is not None]
    return KnownGradient.apply(value.detach(), [g for g, _ in used], *(x for _, x in used))
