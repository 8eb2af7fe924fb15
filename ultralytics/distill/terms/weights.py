# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What weighs each term beside its gain: kept for `results.csv`, and told when little of it is left."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from ultralytics.utils import LOGGER

LEVELS = (0.5, 0.01)  # shares of its gain: when a term first weighs less than one of them, a line says so


class Weights:
    """Means of an epoch over its steps: what each term was multiplied by beside its gain, and why.

    Attributes:
        reached (dict[str, float]): For each term the highest weight of an epoch so far.
        told (dict[str, float]): For each term the lowest level that a line has told of.
    """

    def __init__(self) -> None:
        """Start without a step."""
        self.reached: dict[str, float] = {}
        self.told: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """Forget the steps since the last call of `take`."""
        self.sums: dict[tuple[str, str], Any] = {}  # by term and factor, "" for their product
        self.steps = 0

    def add(self, factors: Mapping[str, Mapping[str, Any]], common: Mapping[str, Any]) -> None:
        """Take in a step: what weighs each term alone, by a name, e.g. `{"teacher margin": 0.4}`, and what weighs all.

        These are numbers or scalar tensors; nothing is read from the device, or written to it.
        """
        for term, own in factors.items():
            each = {**own, **common}
            for name, value in {"": prod(each.values()), **each}.items():
                self.sums[term, name] = self.sums.get((term, name), 0.0) + value
        self.steps += 1

    def take(self, epoch: int, epochs: int) -> dict[str, float]:
        """Return each term's mean weight since the last call, and say which fell below a level for the first time."""
        means = {k: float(v) / self.steps for k, v in self.sums.items()}
        self.start()
        weights = {term: v for (term, factor), v in means.items() if not factor}
        lines: dict[str, list[str]] = {}
        for term, weight in weights.items():
            self.reached[term] = max(weight, self.reached.get(term, 0.0))
            below = [x for x in LEVELS if weight < x <= self.reached[term] and x < self.told.get(term, 1.0)]
            if below and epoch < epochs:
                self.told[term] = min(below)
                own = {k: v for (t, k), v in means.items() if t == term and k and v < 0.995}
                why = ", ".join(f"{k} {v:.2g}" for k, v in own.items())
                lines.setdefault(f"{weight:.2g} of {{}} gain in epoch {epoch}: {why}", []).append(term)
        for line, terms in lines.items():
            several = len(terms) > 1
            which = f"{', '.join(terms)} {'are' if several else 'is'} down-weighted to"
            LOGGER.info(f"Distillation: {which} {line.format('their' if several else 'its')}")
        return {f"distill/weight/{k}": v for k, v in weights.items()}
