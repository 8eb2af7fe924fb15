# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The terms on labelled and on unlabelled images apart, for `results.csv`."""

from __future__ import annotations

import math
from typing import Any

import torch

from ultralytics.distill.base import BaseDistiller
from ultralytics.distill.graph import Capture
from ultralytics.distill.joint import rows

EVERY = 10  # steps from one look to the next; an epoch's first is always looked at
NAMES = ("labeled", "unlabeled")


class SplitMeans:
    """Computes the terms once more on each kind of image, without gradient, now and then.

    Many a term divides by a sum over the batch, so its value there is no mean of what it is on both kinds. A user's own
    distiller is not asked twice.
    """

    def __init__(self, distiller: BaseDistiller):
        """Start empty."""
        self.distiller, self.steps = distiller, 0
        self.sums: dict[str, list[float]] = {}

    @torch.no_grad()
    def look(
        self, seen: Capture, shown: Any, batch: dict[str, Any], targets: dict[str, dict[str, torch.Tensor]]
    ) -> None:
        """Look at what student and teachers showed in a step of labelled and unlabelled images; nothing in another.

        The targets are the labelled images'. `labeled` in the batch is their number.
        """
        count, total = batch.get("labeled", 0), len(batch["img"])
        self.steps += 1
        if not count or (self.steps - 1) % EVERY or not self.distiller.splits:
            return
        targets = {k: {n: v[n] for n in ("target_scores", "fg_mask") if n in v} for k, v in targets.items()}
        for name, part in zip(NAMES, (slice(count), slice(count, None))):
            labels = {k: rows(v, slice(0, None if name == "labeled" else 0), count) for k, v in targets.items()}
            some = {**batch, "img": batch["img"][part], "labeled": count if name == "labeled" else 0}
            parts = self.distiller(rows(seen, part, total), rows(shown, part, total), some, labels)[1]
            for key, value in zip(self.distiller.parts, torch.stack([*parts]).tolist()):
                self.sums.setdefault(f"distill/{name}/{key}", []).append(value)

    def take_means(self) -> dict[str, float]:
        """Return each part's mean on each kind since the last call, and start anew; a part without one is left out."""
        sums, self.sums, self.steps = self.sums, {}, 0
        means = {k: sum(v) / len(v) for k, v in sums.items()}
        return {k: v for k, v in means.items() if not math.isnan(v)}
