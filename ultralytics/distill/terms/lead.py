# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""How far a teacher's boxes are ahead of the student's: no further, and there is nothing to learn from them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ultralytics.distill.heads.classes import select_classes
from ultralytics.distill.heads.predictions import match_levels
from ultralytics.distill.losses.response import distances
from ultralytics.utils.metrics import bbox_iou

KEPT = 0.95  # share of the running averages that a new batch leaves: they look back over some 20 batches
MOST = 512  # anchors of an image that are looked at, those with the surest labels first


class Lead(nn.Module):
    """Holds both models' boxes against the labels, on the anchors that the student's label assigner takes.

    A box term draws the student to the teacher's boxes, faults included. While these fit the labels better than its own
    that is a gain; from then on it keeps the student at its teacher's level. So a term with a `lead` m weighs

        clamp((IoU_T - IoU_S) / m, 0, 1),

    IoU the mean overlap of a model's boxes with their labels, weighted by the assigner's target scores, as a running
    average of the last batches. Each process of several keeps its own.

    Attributes:
        seen (torch.Tensor): Running sums: overlap of the student, overlap of the teacher, and how much was seen.

    Args:
        index (torch.Tensor, optional): The student's classes that are compared, if not all; labels of others do not
            count.
    """

    def __init__(self, index: torch.Tensor | None = None):
        """Start without having seen anything."""
        super().__init__()
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("seen", torch.zeros(3))

    @torch.no_grad()
    def look(self, student: dict[str, Any], teacher: dict[str, Any]) -> None:
        """Take in a batch; one without labels, or with boxes that are no numbers, changes nothing.

        Args:
            student (dict): One branch, with `boxes`, `target_scores` (N, nc, A), and in pixels `target_boxes`
                (N, 4, A) and the anchors' `points` (1, 2, A).
            teacher (dict): The same branch of the teacher, with `boxes`.
        """
        s, t = match_levels(student, teacher)
        s = select_classes(s, self.index)
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
        total = weight.sum()
        means = [(overlap(x, label) * weight).sum() / total for x in (distances(pick(s["boxes"])), theirs)]
        now = torch.stack([*means, total.new_ones(())]).to(self.seen)
        self.seen.copy_(torch.where(now.isfinite().all(), KEPT * self.seen + (1 - KEPT) * now, self.seen))

    @property
    def ahead(self) -> torch.Tensor:
        """Return by how much the teacher's boxes overlap their labels more than the student's, -1 to 1."""
        return (self.seen[1] - self.seen[0]) / self.seen[2]

    def weight(self, margin: float) -> torch.Tensor:
        """Return the weight of a term that has full weight from a lead of `margin` on; 1 before anything was seen."""
        return (self.ahead / margin).clamp(0, 1).nan_to_num(1.0)


def overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the overlap (N, A), 0 to 1, of boxes given as distances (N, 4, A) from common points."""
    corners = [torch.cat([-x[:, :2], x[:, 2:]], 1).transpose(1, 2) for x in (a, b)]
    return bbox_iou(*corners, xywh=False).squeeze(2).clamp(0, 1)
