# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""How far a teacher is ahead of the student in boxes and classes: no further, and there is nothing to learn from it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ultralytics.distill.heads.classes import select_classes
from ultralytics.distill.heads.predictions import match_levels
from ultralytics.distill.losses.response import distances
from ultralytics.distill.terms.term import ResponseTerm
from ultralytics.distill.world import mean_over_processes
from ultralytics.utils.metrics import bbox_iou

KEPT = 0.95  # share of the running averages that a new batch leaves: they look back over some 20 batches
MOST = 512  # anchors of an image that are looked at: those with the surest labels, or with the highest scores
RANKED = 128  # rankings of a batch, each of one class in one image, that are looked at: those with the surest labels


class Lead(nn.Module):
    """Holds both models against the labels, on the anchors that the student's label assigner takes.

    A term draws the student to its teacher, faults included. While the teacher fits the labels better that is a gain;
    from then on it keeps the student at its teacher's level. So a term with a `lead` m weighs

        clamp((fit_T - fit_S) / m, 0, 1),

    fit, from 0 to 1, the mean over the labelled anchors, weighted by the assigner's target scores, as a running average
    of the last batches of all processes.

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
    def look(self, student: dict[str, Any], teacher: dict[str, Any]) -> None:
        """Take in a batch of each process; one without labels, or with outputs that are no numbers, changes nothing.

        Every process must look, whatever its batch holds.

        Args:
            student (dict): One branch, with `scores` and `target_scores` (N, nc, A), `boxes`, and in pixels
                `target_boxes` (N, 4, A) and the anchors' `points` (1, 2, A).
            teacher (dict): The same branch of the teacher, with `scores` and `boxes`.
        """
        s, t = match_levels(student, teacher)
        fits = self.fits(select_classes(s, self.index_s), select_classes(t, self.index_t, self.merge))
        now = torch.stack([*fits, fits[0].new_ones(())]).to(self.seen)
        now = mean_over_processes(torch.where(now.isfinite().all(), now, 0.0))  # its last entry: how many had labels
        self.seen.copy_(torch.where(now[2] > 0, KEPT * self.seen + (1 - KEPT) * now, self.seen))

    def fits(self, s: dict[str, Any], t: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return how well student and teacher fit the labels, 0 to 1, not a number where there are none."""
        raise NotImplementedError

    @property
    def ahead(self) -> torch.Tensor:
        """Return by how much the teacher fits the labels better than the student, -1 to 1."""
        return (self.seen[1] - self.seen[0]) / self.seen[2]

    def weight(self, margin: float) -> torch.Tensor:
        """Return the weight of a term that has full weight from a lead of `margin` on; 1 before anything was seen."""
        return (self.ahead / margin).clamp(0, 1).nan_to_num(1.0)


class BoxLead(Lead):
    """The lead in boxes: an anchor's fit is the overlap (IoU) of its box with its label."""

    def fits(self, s: dict[str, Any], t: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both models' mean overlap."""
        weight = s["target_scores"].sum(1)  # (N, A), zero where no label is assigned
        weight, index = weight.topk(min(MOST, weight.shape[1]), dim=1)  # (N, K)

        def pick(x: torch.Tensor) -> torch.Tensor:
            """Return the anchors that count, (N or 1, C, A) to (N, C, K)."""
            return x.expand(len(index), -1, -1).gather(2, index[:, None].expand(-1, x.shape[1], -1)).float()

        target, points = pick(s["target_boxes"]), pick(s["points"])
        cells = [points.new_full((1, 1, h * w), v) for (h, w), v in zip(s["shapes"], s["strides"])]
        label = torch.cat([points - target[:, :2], target[:, 2:] - points], 1) / pick(torch.cat(cells, 2))
        theirs = distances(pick(t["boxes"]))
        if "scale" in t:
            theirs = theirs * pick(t["scale"][None])
        ours, total = distances(pick(s["boxes"])), weight.sum()
        return (overlap(ours, label) * weight).sum() / total, (overlap(theirs, label) * weight).sum() / total


class ClassLead(Lead):
    """The lead in classes: an anchor's fit is the precision of its class at its score.

    That is the share of labelled anchors among those of the image whose score of the class is at least as high, so its
    mean is an average precision over anchors; 0 for an anchor far down the ranking. Only which scores are higher
    counts, as in `relative`, not how high they are: a cross entropy is worst where a model is sure and wrong, and on
    mosaics a good teacher's may be worse than that of a student that has learnt nothing yet.
    """

    def fits(self, s: dict[str, Any], t: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both models' mean precision."""
        label = s["target_scores"].flatten(0, 1)  # (N * nc, A): a row for each class of each image
        rows = label.sum(1).topk(min(RANKED, len(label))).indices
        label = label[rows].float()
        return precision(s["scores"].flatten(0, 1)[rows], label), precision(t["scores"].flatten(0, 1)[rows], label)


LEADS: dict[str, type[Lead]] = {"boxes": BoxLead, "classes": ClassLead}  # what a loss with a `lead` may compare


def overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the overlap (N, A), 0 to 1, of boxes given as distances (N, 4, A) from common points."""
    corners = [torch.cat([-x[:, :2], x[:, 2:]], 1).transpose(1, 2) for x in (a, b)]
    return bbox_iou(*corners, xywh=False).squeeze(2).clamp(0, 1)


def precision(scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the mean precision of rankings (R, A), weighted by labels (R, A) that are 0 where there is none."""
    order = scores.float().topk(min(MOST, scores.shape[1])).indices
    total, label = label.sum(), label.gather(1, order)
    share = (label > 0).cumsum(1) / torch.arange(1, label.shape[1] + 1, device=label.device)
    return ((share * label).sum() / total).where(scores.isfinite().all(), torch.nan)
