# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Several teachers at once: each with its own layer pairs, terms and gains, under one distiller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ultralytics.distill.base import BaseDistiller
from ultralytics.distill.graph import Capture


class SeveralDistillers(BaseDistiller):
    """Adds up what each teacher's distiller finds; parts are named `t1/...`, `t2/...`, teachers by their files."""

    def __init__(self, distillers: Sequence[BaseDistiller], names: Sequence[str]):
        """Join columns, parts, layers and needs."""
        nn.Module.__init__(self)
        self.distillers, self.names = nn.ModuleList(distillers), list(names)
        self.columns = list(dict.fromkeys(c for d in distillers for c in d.columns))
        self.parts = [f"t{i}/{p}" for i, d in enumerate(distillers, 1) for p in d.parts]
        self.pairs = [replace(p, name=f"t{i}/{p.name}") for i, d in enumerate(distillers, 1) for p in d.pairs]
        self.skipped = list(dict.fromkeys(x for d in distillers for x in d.skipped))
        self.layers = sorted({i for d in distillers for i in d.layers[0]}), [i for d in distillers for i in d.layers[1]]
        for need in ("needs_head", "needs_features", "needs_targets", "needs_criterion"):
            setattr(self, need, any(getattr(d, need) for d in distillers))
        self.splits = all(d.splits for d in distillers)

    def prepare(self, images: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]  # one for each teacher
        """Return what each teacher sees."""
        return [d.prepare(images) for d in self.distillers]

    def forward(  # type: ignore[override]  # a `Capture` for each teacher
        self,
        student: Capture,
        teacher: Sequence[Capture],
        batch: dict[str, Any],
        targets: dict[str, dict[str, torch.Tensor]],
    ) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        """Return the sum of each column over the teachers, and all parts."""
        sums: dict[str, Any] = dict.fromkeys(self.columns, 0.0)
        parts: list[torch.Tensor] = []
        self.total: Any = 0.0
        for distiller, seen in zip(self.distillers, teacher):
            columns, some = distiller(student, seen, batch, targets)
            if not torch.isfinite(torch.stack(list(columns.values()))).all():  # one teacher's, before they are mixed
                columns = distiller.without(columns, some)
            self.total = self.total + distiller.unweighted_sum(columns)
            sums = {k: sums[k] + columns.get(k, 0.0) for k in sums}
            parts += some
        return sums, parts

    def term_weights(self) -> dict[str, dict[str, Any]]:
        """Return what weighs each teacher's terms, named like its parts."""
        return {f"t{i}/{k}": v for i, d in enumerate(self.distillers, 1) for k, v in d.term_weights().items()}

    def unweighted_sum(self, columns: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the sum over the teachers of what their columns were without `term_weights`."""
        return self.total

    def notes(self) -> dict[str, float]:
        """Return what each teacher's distiller notes, named like its parts."""
        return {f"t{i}/{k}": v for i, d in enumerate(self.distillers, 1) for k, v in d.notes().items()}

    def describe(self) -> str:
        """Return each teacher's terms."""
        return " + ".join(f"{d.describe()} from {n}" for d, n in zip(self.distillers, self.names))
