# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Keeps the terms at a share of the task loss, where asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ultralytics.distill.runtime.distributed import mean_over_processes
from ultralytics.distill.values import number

KEPT = 0.98  # share of the running averages that a new value leaves


@dataclass
class Ratio:
    """Keeps the terms' weighted sum at a share of the task loss: running averages of both, bias-corrected.

    The gains still say how much of the sum each term is.

    Attributes:
        share (float): The sum over the task loss.
        clamp (float): The factor stays between 1 / clamp and clamp.
    """

    share: float = 0.5
    clamp: float = 10.0

    def __post_init__(self) -> None:
        """Check the parameters before the first batch asks."""
        self.share = number("share", self.share, above=0)
        self.clamp = number("clamp", self.clamp, least=1)


BALANCES = {"ratio": Ratio}


@dataclass
class Balance:
    """The factor of the terms by a rule; without one it is 1."""

    rule: Ratio | None
    averages: torch.Tensor | None = None  # of the task loss and of the terms
    shown: torch.Tensor | None = None  # the factor of the last step

    def __call__(self, task: torch.Tensor, terms: torch.Tensor) -> torch.Tensor | float:
        """Return the factor of the terms, without gradient, for a step's task loss and the terms' sum on its scale.

        The sum is as it were without the teacher's margin and the branches' weights: the terms are balanced as if these
        did not weigh, so that they stay in force.
        """
        if self.rule is None:
            return 1.0
        pair = mean_over_processes(torch.stack([task.detach(), terms.detach()]).float().abs())
        finite = torch.isfinite(pair).all()  # stays on the device: asking would wait for it
        before = torch.zeros_like(pair) if self.averages is None else self.averages
        self.averages = torch.where(finite, KEPT * before + (1 - KEPT) * pair, before)
        own, others = self.averages.unbind()  # the bias of both cancels
        factor = torch.where(others > 0, self.rule.share * own / others.clamp(min=1e-30), 1.0)
        self.shown = factor.clamp(1 / self.rule.clamp, self.rule.clamp).to(task)
        return self.shown

    def state(self) -> dict[str, Any]:
        """Return what resume needs, as plain values."""
        return {"averages": None if self.averages is None else self.averages.tolist()}

    def load_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Take up the averages of an interrupted run."""
        found = state["averages"]
        self.averages = None if found is None else torch.tensor(found, device=device)
