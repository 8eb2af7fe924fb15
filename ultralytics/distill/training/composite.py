# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The module that trains: student, distiller and an online teacher under one roof, one forward a step, one DDP."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from ultralytics.distill.base import BaseDistiller
from ultralytics.distill.graph import Tapped, tap, trunk
from ultralytics.distill.heads.predictions import watch_assigner
from ultralytics.distill.teacher.online import OnlineTeacher
from ultralytics.distill.terms.balance import Balance, Ratio
from ultralytics.distill.terms.guard import Record, check_terms, require_form
from ultralytics.distill.training import compiled
from ultralytics.distill.training.rehearsal import rehearse
from ultralytics.distill.upstream import branch_shares, for_profile, join_items, unwrap_model


class Composite(nn.Module):
    """Student, distiller and teacher.

    The student is kept as `_orig_mod`, which upstream's `unwrap_model` peels: EMA, criterion, validator, checkpoint and
    resume see the plain student. Attributes read and written here are the student's.

    Args:
        student (nn.Module): The student as the trainer holds it.
        distiller (BaseDistiller): The terms.
        teacher (Teacher | OnlineTeacher): A frozen teacher stays outside the registries; one that learns is registered.
        rule (Ratio | None): What keeps the terms at a share of the task loss.

    Attributes:
        weight (float): Weight of the distillation terms at this step; 0 leaves a frozen teacher out.
        columns (list[str]): Loss columns, e.g. `dfea_loss`.
    """

    OWN = frozenset({"training", "weight", "checked"})  # what is written after the start

    def __init__(self, student: nn.Module, distiller: BaseDistiller, teacher: Any, rule: Ratio | None = None):
        """Keep all three; nothing is copied."""
        super().__init__()
        self.distiller = distiller
        self.teacher = teacher  # a frozen one is a plain object, so no registry sees it
        self.online = isinstance(teacher, OnlineTeacher)
        self.columns = [*distiller.columns, *["dline_loss"] * self.online]
        self.weight, self.checked = 1.0, False
        self.record = Record(distiller)
        self.trunk = trunk(unwrap_model(student))
        self.balance = Balance(rule, distiller.columns)
        self._orig_mod = student  # last: from here on, unknown attributes are the student's

    def __getattr__(self, name: str) -> Any:
        """Look an unknown attribute up in the student."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_orig_mod"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Write an attribute that is not this module's own to the student, e.g. a classifier's `transforms`."""
        if name in self.OWN or "_orig_mod" not in self.__dict__.get("_modules", {}):
            super().__setattr__(name, value)
        else:
            setattr(self._orig_mod, name, value)

    def forward(self, x: torch.Tensor | dict, *args: Any, **kwargs: Any) -> Any:
        """Return the loss of a batch, or the student's predictions for images.

        Args:
            x (torch.Tensor | dict): Images (N, C, H, W), or a training batch.
            *args (Any): Passed to the student.
            **kwargs (Any): Passed to the student.

        Returns:
            (Any): For a batch the student's loss vector with one entry more for each distillation column, and the
                items to log; for images in training, as auto-batch gives them, what `rehearse` returns; otherwise what
                the student returns.
        """
        if isinstance(x, dict) and self.training:
            return self.loss(x)
        if isinstance(x, torch.Tensor) and self.training and not args and not kwargs:
            return for_profile(rehearse(self, x))
        return self._orig_mod(x, *args, **kwargs)

    def loss(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Run the student once, the teacher once, and add the terms to the task loss."""
        distiller, student = self.distiller, unwrap_model(self._orig_mod)
        if distiller.needs_targets and getattr(student, "criterion", None) is None:  # else YOLOE picks by its prompts
            student.criterion = student.init_criterion()
        if self.online:
            shown, own = self.teacher(batch)
        elif self.weight:
            shown = self.teacher(distiller.prepare(batch["img"]))
        targets: Any = watch_assigner(student.criterion) if distiller.needs_targets else nullcontext({})
        with targets as assigned:
            task, items, seen = self._learn(student, batch)
        seen.shares = branch_shares(student.criterion)
        columns, factor = dict.fromkeys(distiller.columns, self._nothing(task)), batch_factor(student, batch)
        if self.weight:
            shared = {k: v for k, v in seen.maps.items() if k <= self.trunk}  # from here all levels of the head come
            seen.maps = {i: seen.maps[i] for i in distiller.layers[0]}  # the distiller is shown what it asked for
            columns, parts = require_form(distiller, distiller(seen, shown, batch, assigned))
            if not self.checked:
                one = len(batch["img"]) == 1 or any(m.shape[2:].numel() == 1 for m in seen.maps.values())
                check_terms(distiller, parts, zero_is_normal=one)
                self.checked = not one
            columns = self.record.add(columns, parts)
            scale = self.balance(task.sum(), {k: v * factor for k, v in columns.items()}, shared)
            columns = {k: v * self.weight * scale for k, v in columns.items()}
        if self.online:
            columns["dline_loss"] = own / batch_factor(self.teacher.net, batch)
        loss = torch.cat([task.view(-1), torch.stack(list(columns.values())) * factor])
        return loss, join_items(items, columns)

    def _is_compiled(self) -> bool:
        """Whether upstream compiled the student."""
        return self._orig_mod is not unwrap_model(self._orig_mod)

    def _learn(self, student: nn.Module, batch: dict[str, Any]) -> tuple[torch.Tensor, dict, Tapped]:
        """Run the student once; return its task loss, the items to log and what was seen of it."""
        if not self._is_compiled():
            layers = {*self.distiller.layers[0], self.trunk}
            with tap(student, sorted(layers), self.distiller.needs_features) as seen:
                return *student(batch), seen
        output = self._orig_mod(batch["img"])  # compiled: the criterion stays outside, as upstream has it
        return *student.loss(batch, output), compiled.read(student, output)

    def _nothing(self, task: torch.Tensor) -> torch.Tensor:
        """Return zero; the weights take part where upstream's DDP counts on that in every step, as it does compiled."""
        return self.distiller.nothing(task) if self.weight == 0 and self._is_compiled() else task.new_zeros(())

    def take_means(self) -> dict[str, float]:
        """Return each part's unweighted mean since the last call, and start anew."""
        return self.record.take_means()


def batch_factor(student: nn.Module, batch: dict[str, Any]) -> int:
    """Return what the student's criterion multiplies its own means by: the batch size, or 1."""
    from ultralytics.nn.tasks import ClassificationModel, RTDETRDetectionModel

    return 1 if isinstance(student, (ClassificationModel, RTDETRDetectionModel)) else len(batch["img"])
