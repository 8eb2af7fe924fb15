# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""One training step: the student's one forward is watched, the teacher looks at the same images, terms are added."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_map

from ultralytics.distill.balance import Balance, Ratio
from ultralytics.distill.base import BaseDistiller
from ultralytics.distill.graph import Capture, capture
from ultralytics.distill.head_outputs import branch_weights
from ultralytics.distill.heads.predictions import watch_assigner
from ultralytics.distill.joint import Joint, joined, rows
from ultralytics.distill.teacher.online import OnlineTeacher
from ultralytics.distill.terms.criterion import watch_criterion
from ultralytics.distill.terms.guard import Record, check_terms, require_form
from ultralytics.distill.terms.weights import Weights
from ultralytics.distill.training import compiled
from ultralytics.distill.unlabeled.split_means import SplitMeans
from ultralytics.distill.upstream import join_items, unwrap_model


class Step:
    """Adds the terms to the student's own loss, inside the call in which the student computes it.

    The student stays a plain model: for the length of one call its `loss` is replaced by that of this object. Under DDP
    the call happens inside DDP's forward, so the reducer sees every weight that a term reaches.

    Args:
        model (nn.Module): The student as the trainer holds it before DDP, plain or compiled.
        distiller (BaseDistiller): The terms.
        teacher (Teacher | OnlineTeacher): A frozen teacher, or one that learns.
        rule (Ratio | None): What keeps the terms at a share of the task loss.

    Attributes:
        student (nn.Module): The plain student.
        online (bool): Whether the teacher learns.
        weight (float): Weight of the distillation terms at this step; 0 leaves a frozen teacher out.
        columns (list[str]): Loss columns, e.g. `dfea_loss`.
    """

    def __init__(self, model: nn.Module, distiller: BaseDistiller, teacher: Any, rule: Ratio | None = None):
        """Keep all three; nothing is copied."""
        self.model, self.student = model, unwrap_model(model)
        self.distiller, self.teacher = distiller, teacher
        self.online = isinstance(teacher, OnlineTeacher)
        self.columns = [*distiller.columns, *["dline_loss"] * self.online]
        self.weight, self.checked = 1.0, False
        self.record, self.watch = Record(distiller), ExitStack()
        self.kept: dict[str, Any] = {}  # a loss that the student holds itself, beside that of its class
        self.joint: Any = None  # a `Joint`: unlabelled images that the next loss sees beside its batch
        self.kinds = SplitMeans(distiller)
        self.balance, self.weights = Balance(rule), Weights()

    @property
    def compiled(self) -> bool:
        """Whether upstream compiled the student."""
        return self.model is not self.student

    @property
    def armed(self) -> bool:
        """Whether the student has not computed its loss since the step was armed."""
        return vars(self.student).get("loss") == self.loss

    @property
    def mixed(self) -> bool:
        """Whether the next loss sees unlabelled images beside labelled ones."""
        return bool(self.joint and self.joint.count)

    def arm(self) -> None:
        """Let the next loss that the student computes be this step's; from then on it is the student's own again.

        The student is watched from now on: some releases run it before they ask for its loss.
        """
        self.disarm()
        self.kept = {k: v for k, v in vars(self.student).items() if k == "loss"}
        vars(self.student)["loss"] = self.loss
        if not self.compiled:
            self.seen = self.watch.enter_context(self._capture())
            self.watch.enter_context(self._joined())

    def join(self, batch: dict[str, Any], more: dict[str, Any]) -> None:
        """Let the next step see `more`, unlabelled images of the same size, beside a batch; called before `arm`.

        They are the batch itself where there are no others. A compiled student, which no hook can widen, finds all
        images in the batch; the loss puts the labelled ones back.
        """
        if more is batch:
            self.joint = Joint(batch["img"], 0, more)
            return
        self.joint = Joint(torch.cat([batch["img"], more["img"]]), len(batch["img"]), more)
        if self.compiled:
            batch["img"] = self.joint.images

    def disarm(self) -> None:
        """Give the student its own loss back, and watch it no longer."""
        if self.armed:
            del vars(self.student)["loss"]
            vars(self.student).update(self.kept)
        self.watch.close()

    def __call__(self, batch: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        """Take a step as upstream's loop does, without a trainer; return the loss and the items to log."""
        self.arm()
        return self.student.loss(batch, self.model(batch["img"])) if self.compiled else self.model(batch)

    def loss(self, batch: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Any]:
        """Run the student once, the teacher once, and add the terms to the task loss.

        What else the student's own loss is given is handed on. Upstream's know `preds`, what the student returned for
        the batch's images, where it was run before; a compiled one always was: its criterion stays outside the graph.

        Returns:
            loss (torch.Tensor): The student's own loss vector with one entry more for each column; the sum of them
                where the student's own is a sum.
            items (dict | torch.Tensor): What is logged, with the columns.
        """
        self.disarm()
        try:
            task, items, columns = self.compute(batch, *args, **kwargs)
            factor = batch_factor(self.student, self._whole(batch))
        finally:
            self.joint = None
        loss = torch.cat([task.view(-1), torch.stack(list(columns.values())) * factor])
        return loss if task.ndim else loss.sum(), join_items(items, columns)

    def compute(
        self, batch: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, Any, dict[str, torch.Tensor]]:
        """Return the student's own loss and its items, and apart from them the columns, as means over the batch."""
        if self.mixed and self.compiled:
            batch["img"] = batch["img"][: self.joint.count]
        distiller, student, whole = self.distiller, self.student, self._whole(batch)
        if distiller.needs_targets and getattr(student, "criterion", None) is None:  # else YOLOE picks by its prompts
            student.criterion = student.init_criterion()
        if self.online:
            shown, own = self.teacher(batch, self.joint)
        elif self.weight:
            shown = self.teacher(distiller.prepare(whole["img"]))
        targets: Any = watch_assigner(student.criterion) if distiller.needs_targets else nullcontext({})
        asked: Any = watch_criterion(student) if distiller.needs_criterion else nullcontext()
        with targets as assigned, asked as criterion:
            task, items, seen = self._learn(batch, *args, **kwargs)
        seen.criterion = criterion
        if self.joint and not self.mixed:
            (task, items), assigned = no_task(task, items, seen.output), {}
        columns = dict.fromkeys(distiller.columns, task.new_zeros(()))
        scale: Any = 1.0
        if self.weight:
            columns, scale = self._terms(whole, task.sum(), seen, shown, assigned)
        common = {"schedule": self.weight, **({"balance": scale} if self.balance.rule else {})}
        self.weights.add(distiller.term_weights(), common)
        if self.online:
            columns["dline_loss"] = own / batch_factor(self.teacher.net, whole)
        return task, items, columns

    def take_means(self) -> dict[str, float]:
        """Return each part's unweighted mean since the last call, and start anew."""
        return {**self.record.take_means(), **self.kinds.take_means()}

    def _learn(self, batch: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Any, Capture]:
        """Return the student's task loss, the items to log and what was seen of its forward."""
        preds = args[0] if args else kwargs.get("preds")
        if preds is not None and (self.compiled or self.seen.output is not None):
            seen = compiled.read(self.student, preds) if self.compiled else self.seen
            if self.mixed and self.compiled:
                preds = rows(preds, slice(self.joint.count), len(self.joint.images))
                args, kwargs = ((preds, *args[1:]), kwargs) if args else ((), {**kwargs, "preds": preds})
            return *self.student.loss(batch, *args, **kwargs), seen
        with self._capture() as seen, self._joined():
            return *self.student.loss(batch, *args, **kwargs), seen

    def _whole(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with its unlabelled images, where there are any."""
        return self.joint.batch(batch) if self.joint else batch

    def _capture(self) -> AbstractContextManager[Capture]:
        """Return a context in which the student's forward shows what the distiller asks for."""
        return capture(self.student, self.distiller.layers[0], self.distiller.needs_features)

    def _joined(self) -> AbstractContextManager[None]:
        """Return a context in which the student sees the unlabelled images too, where there are any."""
        return joined(self.student, self.joint) if self.mixed else nullcontext()

    def _terms(
        self, batch: dict[str, Any], task: torch.Tensor, seen: Capture, shown: Any, assigned: dict
    ) -> tuple[dict[str, torch.Tensor], Any]:
        """Return the columns, each kind's terms, checked, balanced and weighted, and the balance's factor."""
        distiller, factor = self.distiller, batch_factor(self.student, batch)
        seen.branch_weights = branch_weights(self.student.criterion)
        columns, parts = require_form(distiller, distiller(seen, shown, batch, assigned))
        if not self.checked:
            one = len(batch["img"]) == 1 or any(m.shape[2:].numel() == 1 for m in seen.maps.values())
            check_terms(distiller, parts, zero_is_normal=one)
            self.checked = not one
        columns = self.record.add(columns, parts)
        scale = self.balance(task, distiller.unweighted_sum(columns) * factor)
        self.kinds.look(seen, shown, batch, assigned)  # last: it asks the distiller again, which remembers its last sum
        return {k: v * self.weight * scale for k, v in columns.items()}, scale


def no_task(task: torch.Tensor, items: Any, output: Any) -> tuple[torch.Tensor, Any]:
    """Return a task loss of zero and items of zero where no image has a label; its graph is the student's."""
    reached = sum(
        (x.float() * 0).sum() for x in tree_flatten(output)[0] if isinstance(x, torch.Tensor) and x.requires_grad
    )
    return torch.zeros_like(task) + reached, tree_map(lambda x: x * 0, items)


def batch_factor(student: nn.Module, batch: dict[str, Any]) -> int:
    """Return what the student's criterion multiplies its own means by: the batch size, or 1."""
    from ultralytics.nn.tasks import ClassificationModel, RTDETRDetectionModel

    return 1 if isinstance(student, (ClassificationModel, RTDETRDetectionModel)) else len(batch["img"])
