# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""How far a teacher is ahead of the student in boxes and classes: no further, and there is nothing to learn from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ultralytics.distill.heads.classes import select_classes
from ultralytics.distill.heads.common import outputs
from ultralytics.distill.heads.predictions import match_levels
from ultralytics.distill.losses.response import decode, distances, reach
from ultralytics.distill.runtime.distributed import mean_over_processes
from ultralytics.distill.terms.term import ResponseTerm
from ultralytics.distill.values import choice
from ultralytics.utils.metrics import bbox_iou

KEPT = 0.95  # share of the running averages that a new batch leaves: they look back over some 20 batches
MOST = 512  # anchors of a ranking that are looked at: those with the highest scores
RANKED = 128  # rankings of a batch, each of one class in one image, that are looked at: those with the surest labels


class Margin(nn.Module):
    """Holds both models against the labels, each on the anchors that the student's label assigner takes for it.

    A term draws the student to its teacher, faults included. While the teacher fits the labels better that is a gain;
    from then on it keeps the student at its teacher's level. So a term with a `margin` m weighs

        clamp((fit_T - fit_S) / m, 0, 1),

    fit, from 0 to 1, the mean over a model's labelled anchors, weighted by their target scores, as a running average
    of the last batches of all processes. Which of the two is the student makes no difference but for the sign.

    Attributes:
        seen (torch.Tensor): Running sums: fit of the student, fit of the teacher, and how much was seen.

    Args:
        term (ResponseTerm, optional): Which classes of both models are compared, if not all; labels of others do not
            count.
    """

    def __init__(self, term: ResponseTerm | None = None):
        """Start without having seen anything."""
        super().__init__()
        self.merge = bool(term and term.merge)
        for side in ("index_s", "index_t"):
            self.register_buffer(side, getattr(term, side, None), persistent=False)
        self.register_buffer("seen", torch.zeros(3))

    @torch.no_grad()
    def look(self, student: dict[str, Any], teacher: dict[str, Any], beside: Sequence[Margin] = ()) -> None:
        """Take in a batch of each process; one without labels, or with outputs that are no numbers, changes nothing.

        Every process must look, whatever its batch holds.

        Args:
            student (dict): One branch, with `scores` (N, nc, A), `boxes` and what `watch_assigner` yields.
            teacher (dict): The same branch of the teacher, with `scores` and `boxes`.
            beside (Sequence[Margin]): Others of the same classes, which look too: the labels are assigned once for all.
        """
        s, t = match_levels(student, select_classes(teacher, self.index_t, self.merge))
        s, t = self._student(s), self._teacher(s, t)
        for margin in (self, *beside):
            margin.take_in(s, t)

    def take_in(self, student: dict[str, Any], teacher: dict[str, Any]) -> None:
        """Add how well both fit the labels to the running averages."""
        fits = [self.fit(x) for x in (student, teacher)]
        now = torch.stack([*fits, fits[0].new_ones(())]).to(self.seen)
        now = mean_over_processes(torch.where(now.isfinite().all(), now, 0.0))  # its last entry: how many had labels
        self.seen.copy_(torch.where(now[2] > 0, KEPT * self.seen + (1 - KEPT) * now, self.seen))

    def fit(self, branch: dict[str, Any]) -> torch.Tensor:
        """Return how well a model fits the labels, 0 to 1, not a number where there are none.

        Args:
            branch (dict): With `scores` and `target_scores` (N, compared classes, A), `boxes` (N, 4, A), distances in
                cells, and in pixels `target_boxes` (N, 4, A), the anchors' `points` (1, 2, A) and `cells` (1, 1, A);
                `most_labels` is an upper bound of the number of labels.
        """
        raise NotImplementedError

    @property
    def ahead(self) -> torch.Tensor:
        """Return by how much the teacher fits the labels better than the student, -1 to 1."""
        return (self.seen[1] - self.seen[0]) / self.seen[2]

    def weight(self, margin: float) -> torch.Tensor:
        """Return the weight of a term that has full weight while the teacher is ahead by `margin`; 1 at first."""
        return (self.ahead / margin).clamp(0, 1).nan_to_num(1.0)

    def _student(self, s: dict[str, Any]) -> dict[str, Any]:
        """Return the student's branch as `fit` reads it."""
        s = {**s, "cells": cells(s), "boxes": distances(s["boxes"]).float()}
        if not s["by_boxes"]:
            found = s["assign"](s["scores"].float().sigmoid().transpose(1, 2), corners(s), s["points"][0].T)
            s = {**s, **found}
        return select_classes(s, self.index_s)

    def _teacher(self, s: dict[str, Any], t: dict[str, Any]) -> dict[str, Any]:
        """Return the teacher's branch as `fit` reads it, with labels that were assigned to its own predictions."""
        t = {**t, "points": s["points"], "cells": cells(s)}
        t["boxes"] = reach(t).float()
        scores = t["scores"].float().sigmoid()
        if self.index_s is not None:  # classes that it does not know have no score
            scores = scores.new_zeros(s["scores"].shape).index_copy(1, self.index_s, scores)
        found = s["assign"](scores.transpose(1, 2), corners(t), s["points"][0].T)
        return {**t, **select_classes({**s, **found}, self.index_s), **{k: t[k] for k in ("scores", "boxes")}}


class BoxMargin(Margin):
    """The margin in boxes: an anchor's fit is the overlap (IoU) of its box with its label."""

    def fit(self, branch: dict[str, Any]) -> torch.Tensor:
        """Return the mean overlap."""
        weight = branch["target_scores"].sum(1)  # (N, A), zero where no label is assigned
        overlap = bbox_iou(corners(branch), branch["target_boxes"].transpose(1, 2), xywh=False).squeeze(2)
        return (overlap.clamp(0, 1) * weight).sum() / weight.sum()


class ClassMargin(Margin):
    """The margin in classes: an anchor's fit is the precision of its class at its score.

    That is the share of labelled anchors among those of the image whose score of the class is at least as high, so its
    mean is an average precision over anchors; 0 for an anchor far down the ranking. Only which scores are higher
    counts, as in `relative`, not how high they are: a cross entropy is worst where a model is sure and wrong, and on
    mosaics a good teacher's may be worse than that of a student that has learnt nothing yet.
    """

    def fit(self, branch: dict[str, Any]) -> torch.Tensor:
        """Return the mean precision."""
        label = branch["target_scores"].flatten(0, 1)  # (N * nc, A): a row for each class of each image
        rows = label.sum(1).topk(min(RANKED, branch["most_labels"], len(label))).indices
        return precision(branch["scores"].flatten(0, 1)[rows], label[rows].float())


MARGINS: dict[str, type[Margin]] = {"boxes": BoxMargin, "classes": ClassMargin}  # by what `margin_of` may name


def build_margins(responses: Sequence[ResponseTerm], student: nn.Module, teacher: nn.Module) -> nn.ModuleDict:
    """Build what measures the teacher's margin for the terms that ask, where a detector's labels can say it."""
    if teacher is student or "boxes" not in outputs(student.model[-1]):  # its own average is never far ahead
        return nn.ModuleDict()
    led = [t for t in responses if t.margin]
    turned = any(hasattr(m.model[-1], "ne") for m in (student, teacher))
    if wrong := [t.name for t in led if turned and t.margin_of == "boxes"]:
        raise ValueError(
            f"'distill_logit={wrong[0]}': its 'margin' holds upright boxes against the labels, and these are "
            f"rotated; set its 'margin' to 0."
        )
    kinds = [MARGINS[choice("margin_of", t.margin_of, tuple(MARGINS))] for t in led]
    return nn.ModuleDict({f"{t.margin_of}/{b}": k(t) for k, t in zip(kinds, led) for b in t.branches})


def cells(branch: dict[str, Any]) -> torch.Tensor:
    """Return each anchor's pixels a cell (1, 1, A)."""
    sizes = [h * w for h, w in branch["shapes"]]
    like = branch["points"]
    return torch.cat([like.new_full((1, 1, n), v) for n, v in zip(sizes, branch["strides"])], 2)


def corners(branch: dict[str, Any]) -> torch.Tensor:
    """Return boxes (N, A, 4) from corner to corner, or rotated ones (N, A, 5), in pixels."""
    angle = branch["angle"].float() if "angle" in branch else None
    return decode(branch["boxes"], branch["points"], branch["cells"], angle, xywh=False)


def precision(scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the mean precision of rankings (R, A), weighted by labels (R, A) that are 0 where there is none."""
    order = scores.float().topk(min(MOST, scores.shape[1])).indices
    total, label = label.sum(), label.gather(1, order)
    share = (label > 0).cumsum(1) / torch.arange(1, label.shape[1] + 1, device=label.device)
    return ((share * label).sum() / total).where(scores.isfinite().all(), torch.nan)
