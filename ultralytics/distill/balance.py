# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""How strongly the terms pull at the student beside the task loss: balanced, and for that measured, where asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ultralytics.distill.runtime.distributed import mean_over_processes
from ultralytics.distill.values import require_parameter

KEPT = 0.98  # share of the running averages that a new value leaves
LIFT = 4096.0  # keeps small gradients above the smallest numbers of 16 bits; the ratios do not know of it


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
        require_parameter("distill_balance", self, "share", above=0)
        require_parameter("distill_balance", self, "clamp", least=1)


@dataclass
class Grad(Ratio):
    """Keeps the terms' gradient at a share of the task loss's, both at the deepest map that all of them reach.

    The idea is that of RT-DETRv4 (arXiv 2510.25257), which weighs its one term so.

    Attributes:
        every (int): Steps from one look at the gradients to the next.
    """

    every: int = 20

    def __post_init__(self) -> None:
        """Check the parameters before the first batch asks."""
        super().__post_init__()
        require_parameter("distill_balance", self, "every", whole=True, least=1)


BALANCES = {"ratio": Ratio, "grad": Grad}


class Balance:
    """The factor of the terms, and how large their gradients are where `grad` has to know.

    Args:
        rule (Ratio | None): What to keep; with None the factor is 1, and nothing is measured.
        columns (Sequence[str]): Loss columns, e.g. `dfea_loss`.
    """

    def __init__(self, rule: Ratio | None, columns: Sequence[str]):
        """Start without averages."""
        self.rule, self.columns = rule, list(columns)
        self.step = 0
        self.averages: torch.Tensor | None = None  # of the task loss or its gradient, and of the terms'
        self.ratios: torch.Tensor | None = None  # the last seen ones, before weight and factor
        self.shown: torch.Tensor | None = None  # the factor of the last step
        self.place: int | None = None

    def __call__(
        self,
        task: torch.Tensor,
        columns: dict[str, torch.Tensor],
        maps: dict[int, torch.Tensor],
        whole: torch.Tensor | None = None,
    ) -> torch.Tensor | float:
        """Look at a step's losses and return the factor of the terms.

        Args:
            task (torch.Tensor): The task loss, a scalar with its graph.
            columns (dict[str, torch.Tensor]): The terms on the task loss's scale, without weight and factor.
            maps (dict[int, torch.Tensor]): Maps (N, C, H, W) of the student by layer, from which all levels of its head
                come; the measuring takes one of them.
            whole (torch.Tensor, optional): The sum of the columns as it were without the teacher's margin and the
                branches' shares. The terms are balanced as if these did not weigh, so that they stay in force.

        Returns:
            (torch.Tensor | float): The factor, without gradient; 1 where nothing is balanced.
        """
        if self.rule is None:
            return 1.0
        if not isinstance(self.rule, Grad):
            together = torch.stack(list(columns.values())).sum() if whole is None else whole
            self._remember(mean_over_processes(torch.stack([task.detach(), together.detach()]).float().abs()))
        elif self.step % self.rule.every == 0:
            norms = self.look(task, columns, maps)
            if whole is not None:
                norms[1] *= whole / torch.stack(list(columns.values())).sum().detach()
            norms = mean_over_processes(norms)
            self._remember(norms[:2])
            self.ratios = norms[2:] / norms[0].clamp(min=1e-30)
        self.step += 1
        self.shown = self._factor(self.rule).to(task)
        return self.shown

    def take(self, weight: float) -> dict[str, float]:
        """Return what `results.csv` is told of the epoch: with `grad` each term's gradient.

        Args:
            weight (float): The schedule's weight of the epoch's last step.

        Returns:
            (dict[str, float]): `distill/grad/dfea` and the like, over the task loss's, as last seen, with today's
                weight and factor; nan where no gradient was to be seen.
        """
        if not isinstance(self.rule, Grad):
            return {}
        scale = weight * (float(self.shown) if self.shown is not None else 1.0)
        ratios = [math.nan] * len(self.columns) if self.ratios is None else self.ratios.tolist()
        names = (c.replace("_loss", "") for c in self.columns)
        return {f"distill/grad/{n}": r * scale if scale else 0.0 for n, r in zip(names, ratios)}

    def state(self) -> dict[str, Any]:
        """Return what resume needs, as plain values."""
        found = {"averages": self.averages, "ratios": self.ratios}
        return {"step": self.step, **{k: None if v is None else v.tolist() for k, v in found.items()}}

    def load_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Take up the averages, and the ratios that were last seen, of an interrupted run."""
        self.step = state["step"]
        found = (state.get(k) for k in ("averages", "ratios"))  # the first version kept no ratios
        self.averages, self.ratios = (None if v is None else torch.tensor(v, device=device) for v in found)

    def _remember(self, pair: torch.Tensor) -> None:
        """Take the task loss and the terms, or their gradients, into the running averages if both are numbers."""
        finite = torch.isfinite(pair).all()  # stays on the device: asking would wait for it
        before = torch.zeros_like(pair) if self.averages is None else self.averages
        self.averages = torch.where(finite, KEPT * before + (1 - KEPT) * pair, before)

    def _factor(self, rule: Ratio) -> torch.Tensor:
        """Return share x task / terms, clamped; 1 before anything was seen. The bias of both averages cancels."""
        if self.averages is None:
            return torch.ones(())
        task, terms = self.averages.unbind()
        factor = rule.share * task / terms.clamp(min=1e-30)
        return torch.where(terms > 0, factor, 1.0).clamp(1 / rule.clamp, rule.clamp)

    def look(self, task: torch.Tensor, columns: dict[str, torch.Tensor], maps: dict[int, torch.Tensor]) -> torch.Tensor:
        """Return the norms of the gradients of the task loss, of all terms together, and of each, at one map.

        It is the deepest of the maps that the task loss and every term reach, where a look costs least: what lies
        between map and losses is gone through once more. All are nan where there is no such map.
        """
        values = [task, *columns.values()]
        places = [self.place] if self.place is not None else sorted(maps, reverse=True)
        seen = [p for p in places if maps[p].requires_grad] if all(v.requires_grad for v in values) else []
        for place in seen:
            found = [
                torch.autograd.grad(v * LIFT, maps[place], retain_graph=True, allow_unused=True)[0] for v in values
            ]
            if all(g is not None for g in found):
                self.place = place
                gradients = [g.float() for g in found]
                together = torch.stack(gradients[1:]).sum(0)
                return torch.stack([g.norm() for g in (gradients[0], together, *gradients[1:])])
        return task.new_full((2 + len(columns),), math.nan, dtype=torch.float32)
