# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What every distiller is: the trainer asks these things of ours and of a user's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ultralytics.distill.config import Config
from ultralytics.distill.graph import Capture, Pair
from ultralytics.distill.runtime.errors import TermError


class BaseDistiller(nn.Module):
    """What the trainer asks of a distiller; derive from it for a way of comparing of your own (`distill_module=`).

    A subclass says what it wants to see of both models, and what it makes of it. Its parameters are trained along and
    kept for resume; the student's checkpoint stays plain.

    Attributes:
        columns (list[str]): Loss columns that `forward` returns, e.g. `["dlogit_loss"]`.
        parts (list[str]): Names of the unweighted values that it returns.
        layers (tuple[list[int], list[int]]): Student and teacher layers whose maps are wanted.
        pairs (list[Pair]): Layer pairs, for the printed formula.
        skipped (list[str]): Terms that were asked for and do not fit, each with the reason, for the start's lines.
        needs_head (bool): Whether the teacher's raw predictions are wanted.
        needs_features (bool): Whether the heads' inner features are wanted.
        needs_targets (bool): Whether the student's assigned targets are wanted.
        needs_criterion (bool): Whether the student's criterion is asked once more.
        splits (bool): Whether it may be asked again for some of a batch's images, without gradient and without a trace.

    Args:
        config (Config): The run's distillation arguments.
        student (nn.Module): The student, unwrapped, on its device; not to be kept.
        teacher (nn.Module): The teacher, unwrapped; not to be kept.
    """

    columns: Sequence[str] = ()
    parts: Sequence[str] = ()
    layers: tuple[list[int], list[int]] = ([], [])
    pairs: Sequence[Pair] = ()
    skipped: Sequence[str] = ()
    needs_head = False
    needs_features = False
    needs_targets = False
    needs_criterion = False
    splits = False

    def __init__(self, config: Config, student: nn.Module, teacher: nn.Module):
        """Initialize an empty distiller."""
        super().__init__()

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the teacher sees of the student's images (N, C, H, W), 0 to 1."""
        return images

    def forward(
        self, student: Capture, teacher: Capture, batch: dict[str, Any], targets: dict[str, dict[str, torch.Tensor]]
    ) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        """Return the value of each column and the unweighted parts; a subclass writes this."""
        raise NotImplementedError

    def without(self, columns: dict[str, torch.Tensor], parts: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the columns without what is not finite; here each column as a whole."""
        return {k: v if torch.isfinite(v) else self.nothing(v) for k, v in columns.items()}

    def nothing(self, like: torch.Tensor) -> torch.Tensor:
        """Return zero on the device of a value."""
        return like.new_zeros(())

    def term_weights(self) -> dict[str, dict[str, Any]]:
        """Return what weighs each term of the last batch beside its gain, by term and by what it is; here nothing.

        Numbers or scalar tensors, e.g. `{"ld": {"teacher margin": 0.4}}`. Terms are named as in `results.csv`.
        """
        return {c.replace("_loss", ""): {} for c in self.columns}

    def unweighted_sum(self, columns: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the sum of the last batch's columns without `term_weights`, detached; a balance goes by it."""
        return torch.stack(list(columns.values())).sum().detach()

    def notes(self) -> dict[str, float]:
        """Return what `results.csv` is told at an epoch's end beside the parts, each under `distill/`."""
        return {}

    def describe(self) -> str:
        """Return the formula that is printed at the start."""
        return type(self).__name__


def name_pairs(distiller: BaseDistiller, part: str) -> str:
    """Return ` (student layer 15, teacher layer 15)` for a part of a feature term, else nothing."""
    first, _, last = part.partition("/")
    names = {last, f"{first}/{part.rpartition('/')[2]}"}  # `cwd/P3`, and `t1/cwd/P3` of several teachers
    return next(
        (f" (student layer {p.student}, teacher layer {p.teacher})" for p in distiller.pairs if p.name in names), ""
    )


def require_scalar(distiller: BaseDistiller, part: str, value: Any) -> None:
    """Raise a TermError that names the term and its layers unless a loss returned a scalar tensor."""
    if not isinstance(value, torch.Tensor) or value.ndim != 0:
        raise TermError(
            f"the distillation term '{part}'{name_pairs(distiller, part)} is not a scalar tensor but {value!r:.80}; "
            f"return one number a batch."
        )
