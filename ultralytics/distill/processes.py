# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What several processes of one training agree on: means, and whether a step that may fail went well in all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import distributed as dist

from ultralytics.distill.values import reason

T = TypeVar("T")


def several() -> bool:
    """Whether several processes train."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Return the mean over all processes, so that each comes to the same value."""
    if several():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def in_all(action: Callable[[Callable[[Any], None]], T], validates: bool = False) -> T:
    """Run something that may fail in every process; if it fails in one, it has failed in all of them.

    Upstream's validators gather what they found. A process that failed on its way there would leave the others waiting
    for it, so they meet right before: none gathers unless all have come so far.

    Args:
        action (Callable): Called with a function that makes a validator meet the other processes' before it gathers.
        validates (bool): Whether the action runs such a validator.

    Returns:
        (Any): What the action returned.

    Raises:
        Exception: In a process that failed its own error.
        RuntimeError: In the others one that names the process that failed, and why.
    """
    met, found, error = False, None, None

    def meet(validator: Any) -> None:
        gather = validator.gather_stats

        def gather_stats(*args: Any, **kwargs: Any) -> Any:
            nonlocal met
            met = True
            _agree(None)
            return gather(*args, **kwargs)

        validator.gather_stats = gather_stats

    try:
        found = action(meet)
    except Exception as e:
        error = e
    for _ in range(1 + (validates and not met)):  # the others wait for this one before they gather, and at the end
        try:
            _agree(error)
        except RuntimeError as e:
            error = error or e
    if error is not None:
        raise error
    return found  # type: ignore[return-value]


def _agree(error: Exception | None) -> None:
    """Tell all processes of an error here; raise a RuntimeError if there was one anywhere."""
    if not several():
        return
    said: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(said, reason(error) if error else None)
    for rank, why in enumerate(said):
        if why is not None:
            raise RuntimeError(f"process {rank}: {why}")
