# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Asks the student's own criterion a second time, about the same predictions, with other objects and soft scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from ultralytics.distill.boxes import Boxes
from ultralytics.distill.heads.predictions import assigners
from ultralytics.distill.losses.base import widen
from ultralytics.distill.runtime.errors import TermError
from ultralytics.distill.upstream import detection_loss, write_output
from ultralytics.utils.loss import v8PoseLoss, v8SegmentationLoss
from ultralytics.utils.tal import TaskAlignedAssigner


class Criterion:
    """A criterion that remembers what it was asked.

    Args:
        inner (Any): The student's criterion: upstream's, or one that is called and assigns labels as upstream's does.

    Attributes:
        preds (Any): The student's raw predictions as they were given to it.
        batch (dict): The labels as they were given to it.
    """

    def __init__(self, inner: Any):
        """Keep the criterion."""
        self.inner = inner
        self.preds: Any = None
        self.batch: dict[str, Any] = {}

    def __call__(self, preds: Any, batch: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Return the criterion's answer."""
        self.preds, self.batch = preds, batch
        return self.inner(preds, batch, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Return what the criterion has."""
        return getattr(self.inner, name)

    def see(self, output: Any) -> bool:
        """Be asked about another raw output of the student's head, as `Capture.output` holds it.

        Returns:
            (bool): Whether it is whole. The layers of RT-DETR's decoder stand in front of the images, so some rows of
                its output are not those of some images.
        """
        if not matches(self.inner):
            self.preds = write_output(output)
            return True
        boxes, scores, first_boxes, first_scores, denoising = output
        if boxes.shape[1] != len(first_boxes):
            return False
        if denoising:  # the queries of the labels stand in front
            boxes, scores = (x.split(denoising["dn_num_split"], 2)[1] for x in (boxes, scores))
        self.preds = torch.cat([first_boxes[None], boxes]), torch.cat([first_scores[None], scores])
        return True

    def ask(self, objects: Boxes, images: int) -> torch.Tensor:
        """Return the criterion's loss, a mean over the batch, for other objects than the labels.

        Args:
            objects (Boxes): The objects, each with a score for each class.
            images (int): Images of the batch.

        Returns:
            (torch.Tensor): Scalar; with the labels for objects it is what the criterion said of them.
        """
        if matches(self.inner):
            return self._ask_matcher(objects, images)
        batch = {"batch_idx": objects.image.float(), "cls": objects.cls[:, None].float(), "bboxes": objects.boxes}
        batch, preds = {**self.batch, **batch}, full(self.preds)
        with ExitStack() as stack:
            parts = {k: stack.enter_context(boxes_alone(c)) for k, c in branch_criteria(self.inner).items()}
            stack.enter_context(soft_scores(self.inner, objects.padded(objects.scores, images)))
            judges = {k: judge for k, judge in parts.items() if judge}
            if not judges:
                return self.inner(preds, batch)[0].sum() / images
            raw = preds[1] if isinstance(preds, tuple) and isinstance(preds[1], dict) else preds
            if len(judges) == 1:
                return judges["one2many"](raw, batch)
            shares = {"one2many": getattr(self.inner, "o2m", 1.0), "one2one": getattr(self.inner, "o2o", 1.0)}
            return torch.stack([shares[k] * judge(raw[k], batch) for k, judge in judges.items()]).sum()

    def _ask_matcher(self, objects: Boxes, images: int) -> torch.Tensor:
        """Return the loss of a criterion that matches queries; the share of background is per sure object, as else."""
        groups = torch.bincount(objects.image, minlength=images).tolist()
        batch = {"batch_idx": objects.image, "cls": objects.cls, "bboxes": objects.boxes, "gt_groups": groups}
        with soft_matches(self.inner, objects.scores):
            parts = self.inner(widen(self.preds), {**self.batch, **batch})
        sure = objects.scores.amax(1).sum().clamp(min=1) if len(objects) else 1.0
        return sum(parts.values()) * max(len(objects), 1) / sure


def full(preds: Any) -> Any:
    """Return raw predictions in float32; of the maps behind them, which a criterion asks for their shape, no copy."""
    if isinstance(preds, tuple):
        return tuple(full(x) for x in preds)
    if not isinstance(preds, dict):
        return widen(preds)
    shapes = {
        k: [torch.zeros((), device=x.device).expand(x.shape) for x in v] for k, v in preds.items() if k == "feats"
    }
    return {**{k: full(v) for k, v in preds.items() if k != "feats"}, **shapes}


def matches(criterion: Any) -> bool:
    """Whether a criterion matches objects to queries, as RT-DETR's."""
    return isinstance(criterion, nn.Module) and hasattr(criterion, "matcher") and hasattr(criterion, "_get_loss_bbox")


def branch_criteria(criterion: Any) -> dict[str, Any]:
    """Return the criteria of a criterion's branches, itself where it has none."""
    found = {k: getattr(criterion, k) for k in ("one2many", "one2one") if hasattr(criterion, k)}
    return found or {"one2many": criterion}


@contextmanager
def boxes_alone(criterion: Any) -> Iterator[Callable[[Any, dict[str, Any]], torch.Tensor] | None]:
    """Let a criterion of masks or keypoints judge boxes and classes alone, as a detector's does.

    Args:
        criterion (Any): The criterion of one branch.

    Yields:
        (Callable | None): Takes predictions and a batch and returns the loss, a mean over the batch; None for a
            criterion that has nothing beside boxes and classes.
    """
    if not isinstance(criterion, (v8SegmentationLoss, v8PoseLoss)):
        yield None
        return
    own = criterion.assigner
    kept = ("topk", "topk2", "num_classes", "alpha", "beta", "stride")
    if type(own) is not TaskAlignedAssigner:  # YOLO26's also look at masks or keypoints, which answers do not have
        criterion.assigner = TaskAlignedAssigner(**{k: getattr(own, k) for k in kept if hasattr(own, k)})
    try:
        yield partial(detection_loss, criterion)
    finally:
        criterion.assigner = own


@contextmanager
def watch_criterion(student: nn.Module) -> Iterator[Criterion]:
    """Let a student's criterion remember what it is asked inside the block.

    Args:
        student (nn.Module): The student, unwrapped.

    Yields:
        (Criterion): The criterion.
    """
    if getattr(student, "criterion", None) is None:
        student.criterion = student.init_criterion()
    kept = {k: v for k, v in vars(student).items() if k == "criterion"}  # one that is a module stands elsewhere
    watched = vars(student)["criterion"] = Criterion(student.criterion)
    try:
        yield watched
    finally:
        del vars(student)["criterion"]
        vars(student).update(kept)


@contextmanager
def soft_scores(criterion: Any, scores: torch.Tensor) -> Iterator[None]:
    """Let a criterion's label assigners give soft targets: an anchor's alignment times the scores of its object.

    Args:
        criterion (Any): A criterion with an assigner, or with one for each branch.
        scores (torch.Tensor): Scores (N, M, classes) of each image's objects, in their order.
    """

    def soften(module: nn.Module, args: tuple, out: Any) -> Any:
        if not isinstance(out, tuple) or len(out) < 5:
            raise TermError("the distillation term 'pseudo' needs a label assigner that answers as upstream's.")
        if not scores.shape[1]:
            return out
        index = out[4].long()[..., None].expand(-1, -1, scores.shape[2])
        return (*out[:2], out[2].amax(2, keepdim=True) * scores.gather(1, index), *out[3:])

    with ExitStack() as stack:
        for assigner in assigners(criterion).values():
            stack.callback(assigner.register_forward_hook(soften).remove)
        yield


@contextmanager
def soft_matches(criterion: Any, scores: torch.Tensor) -> Iterator[None]:
    """Let a criterion that matches queries give soft targets: a query's overlap times the scores of its object.

    Its box losses are means over the objects, so an object's confidence weighs the gradient of its box.

    Args:
        criterion (nn.Module): RT-DETR's criterion.
        scores (torch.Tensor): Scores (n, classes) of all objects.
    """
    last: list[Any] = []
    index_of, box_loss = criterion._get_index, criterion._get_loss_bbox

    def keep_index(matched: Any) -> Any:
        last[:] = index_of(matched)
        return tuple(last)

    def weigh(pred: torch.Tensor, target: torch.Tensor, postfix: str = "") -> Any:
        sure = scores[last[1]].amax(1, keepdim=True) if len(target) else 1.0
        return box_loss(torch.lerp(pred.detach(), pred, sure) if len(target) else pred, target, postfix)

    def soften(module: nn.Module, args: tuple) -> tuple:
        pred, target, label = args
        soft = torch.zeros_like(target)
        soft[last[0]] = target[last[0]].amax(1, keepdim=True) * scores[last[1]]
        return pred, soft, label

    vars(criterion).update(_get_index=keep_index, _get_loss_bbox=weigh)
    handle = criterion.vfl.register_forward_pre_hook(soften) if criterion.vfl else None
    try:
        yield
    finally:
        del vars(criterion)["_get_index"], vars(criterion)["_get_loss_bbox"]
        if handle:
            handle.remove()
