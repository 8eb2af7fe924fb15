# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Looks at what terms return: a useless one stops the run at its first batch, a broken one later is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ultralytics.distill.base import BaseDistiller, name_pairs, require_scalar
from ultralytics.distill.runtime.errors import TermError
from ultralytics.utils import LOGGER


def check_terms(distiller: BaseDistiller, parts: Sequence[torch.Tensor], zero_is_normal: bool = False) -> None:
    """Raise if a term of the first batch could not teach anything.

    That is a value that is no scalar tensor, not finite, zero, or detached from the student. Zero is normal where the
    batch is one image, or a map one cell as multi-scale training makes it: a relation of one, or a distribution over
    one position, is nothing to compare.
    """
    for name, value in zip(distiller.parts, parts):
        where = f"the distillation term '{name}'{name_pairs(distiller, name)}"
        require_scalar(distiller, name, value)
        if not torch.isfinite(value):
            raise TermError(f"{where} is {value.item()} on the first batch; try another 'norm' or a smaller size.")
        if value == 0 and not zero_is_normal:
            raise TermError(
                f"{where} is exactly zero on the first batch; student and teacher are equal there, or so few "
                f"images have nothing to compare."
            )
        if not _reaches_student(distiller, value):
            raise TermError(
                f"{where} is detached from the student and would teach it nothing; leave it out, or compute it from "
                f"the student's own tensors."
            )


def require_form(distiller: BaseDistiller, returned: Any) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """Return what a distiller returned, or raise a TermError that says what its `forward` has to return."""
    if isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], dict):
        columns, parts = returned
        numbers = all(isinstance(v, torch.Tensor) and v.ndim == 0 for v in columns.values())
        if numbers and list(columns) == list(distiller.columns) and len(parts) == len(distiller.parts) > 0:
            return columns, parts
    raise TermError(
        f"{type(distiller).__name__}.forward must return a dictionary with one number for each of its columns "
        f"{list(distiller.columns)} and a list with one number for each of its parts {list(distiller.parts)}."
    )


def _reaches_student(distiller: BaseDistiller, value: torch.Tensor) -> bool:
    """Whether the graph of a value leads back to a weight that is not the distiller's own."""
    own = {id(p) for p in distiller.parameters()}
    nodes, seen = [value.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        if hasattr(node, "variable") and id(node.variable) not in own:
            return True
        seen.add(node)
        nodes += [n for n, _ in node.next_functions]
    return value.is_leaf and value.requires_grad


@dataclass
class Record:
    """The unweighted values of an epoch, and how often one was no number in the whole run.

    Attributes:
        broken (dict[str, int]): For each part or column the batches whose loss went without it.
    """

    distiller: BaseDistiller
    broken: dict[str, int] = field(default_factory=dict)
    sums: torch.Tensor | None = None
    counts: torch.Tensor | None = None

    def add(self, columns: dict[str, torch.Tensor], parts: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Take in a batch and return its columns without what is not finite, which is counted and in no mean."""
        values = torch.stack([x.detach().float() for x in (*parts, *columns.values())])
        finite = torch.isfinite(values)
        if not finite.all():  # the one question to the device
            columns = self.distiller.without(columns, parts)
            self._warn(finite.tolist(), values.tolist())
        some, whole = torch.where(finite, values, 0.0)[: len(parts)], finite[: len(parts)].float()
        self.sums = some if self.sums is None else self.sums + some
        self.counts = whole if self.counts is None else self.counts + whole
        return columns

    def take_means(self) -> dict[str, float]:
        """Return each part's mean since the last call, nan where no batch had a number, and start anew."""
        means = [0.0] * len(self.distiller.parts)
        if self.sums is not None and self.counts is not None:
            means = (self.sums / self.counts).tolist()
        self.sums = self.counts = None
        return {f"distill/{k}": v for k, v in zip(self.distiller.parts, means)}

    def _warn(self, finite: list[bool], values: list[float]) -> None:
        """Count what was left out, and say so the first, the tenth, the hundredth time."""
        parts = list(self.distiller.parts)
        names = [*parts, *self.distiller.columns]
        wrong = [(n, v) for n, f, v in zip(names, finite, values) if not f]
        for name, value in [x for x in wrong if x[0] in parts] or wrong:  # a column is wrong because a part is
            count = self.broken[name] = self.broken.get(name, 0) + 1
            if str(count).strip("0") == "1":
                LOGGER.warning(
                    f"Distillation: '{name}'{name_pairs(self.distiller, name)} is {value} and skipped in this batch, "
                    f"the task loss goes on; batches so far: {count}"
                )
