# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Asks the student's own criterion a second time, about the same predictions, with other objects and soft scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from ultralytics.distill.boxes import Boxes
from ultralytics.distill.head_outputs import detection_loss, write_output
from ultralytics.distill.heads.predictions import branch_criteria
from ultralytics.distill.labels import write_labels
from ultralytics.distill.losses.base import widen
from ultralytics.distill.terms.soft import soft_matches, soft_scores
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

    def see(self, output: Any) -> None:
        """Be asked about another raw output of the student's head, as `Capture.output` holds it."""
        if not matches(self.inner):
            self.preds = write_output(output)
            return
        boxes, scores, first_boxes, first_scores, denoising = output
        if denoising:  # the queries of the labels stand in front
            boxes, scores = (x.split(denoising["dn_num_split"], 2)[1] for x in (boxes, scores))
        self.preds = torch.cat([first_boxes[None], boxes]), torch.cat([first_scores[None], scores])

    @property
    def overlap(self) -> bool:
        """Whether it takes the masks of an image in one map."""
        return bool(getattr(next(iter(branch_criteria(self.inner).values())), "overlap", True))

    def ask(self, objects: Boxes, images: int) -> torch.Tensor:
        """Return the criterion's loss, a mean over the batch, for other objects than the labels.

        With the labels for objects it is what the criterion said of them. A criterion of masks or keypoints judges
        boxes and classes alone where the objects have nothing more.
        """
        if matches(self.inner):
            return self._ask_matcher(objects, images)
        if objects.boxes.shape[1] == 5:
            objects = objects[large_enough(objects.boxes, self.batch["img"].shape[2:])]
        labels = write_labels(objects, images, "sem_masks" in self.batch)
        batch, preds = {**self.batch, **labels}, full(self.preds)
        scores, judges = objects.padded(objects.scores, images), {}
        with ExitStack() as stack:
            for name, part in branch_criteria(self.inner).items():
                if not objects.more and isinstance(part, (v8SegmentationLoss, v8PoseLoss)):
                    judges[name] = stack.enter_context(boxes_alone(part))
                stack.enter_context(soft_scores(part, scores))
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


def large_enough(boxes: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Return which rotated boxes (n, 5) upstream's criterion takes: it leaves out those with a side below 2 pixels."""
    return (boxes[:, 2] * float(size[1]) >= 2) & (boxes[:, 3] * float(size[0]) >= 2)


@contextmanager
def boxes_alone(criterion: Any) -> Iterator[Callable[[Any, dict[str, Any]], torch.Tensor]]:
    """Let the criterion of a branch judge no masks or keypoints; yields what returns its mean over a batch."""
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
    """Let a student's criterion remember what it is asked inside the block."""
    if getattr(student, "criterion", None) is None:
        student.criterion = student.init_criterion()
    kept = {k: v for k, v in vars(student).items() if k == "criterion"}  # one that is a module stands elsewhere
    watched = vars(student)["criterion"] = Criterion(student.criterion)
    try:
        yield watched
    finally:
        del vars(student)["criterion"]
        vars(student).update(kept)
