# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Spreads a teacher's final boxes over the student's anchors, so that the terms on raw predictions can compare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ultralytics.distill.answers.extra import describe_lack, shared_extra
from ultralytics.distill.answers.final import FinalBoxes, is_final
from ultralytics.distill.boxes import corners, pixels
from ultralytics.distill.config import Config
from ultralytics.distill.graph import Capture
from ultralytics.distill.heads.common import outputs, pair_classes
from ultralytics.distill.losses.response import anchor_points, rebin

CELLS = 5  # side of an anchor's square, in cells: this and the power are what comes nearest to the raw predictions of
POWER = 4  # three teachers, docs/research/log.md
CONF = 0.1  # score from which a box is drawn
FLOOR = 1e-4  # score of an anchor that is in no box


class Dense(nn.Module):
    """A teacher of final boxes as if it had a head of the student's form: one branch of class scores and boxes.

    A detector is sure of an object at some anchors near its centre, at the level of its size. So an anchor's share of
    a box is the overlap (IoU) of the box with a square of 5 cells around the anchor, to the power of 4, divided by the
    largest of the box; none outside of it. Squares of a number of cells are ATSS's anchors (Zhang et al., CVPR 2020,
    arXiv 1912.02424), the power is as in the alignment of TOOD (Feng et al., ICCV 2021, arXiv 2108.07755). Each anchor
    hears the box whose share times score is the largest: it predicts this box, with its scores times the share.

    Attributes:
        reader (FinalBoxes): Reads the boxes.
        names (dict[int, str]): The classes that both models know, with the student's indices.
        model (list[nn.Module]): The head alone, as the terms ask it for its form.

    Args:
        reader (FinalBoxes): Reads the boxes.
        student (nn.Module): The student, unwrapped.
    """

    def __init__(self, reader: FinalBoxes, student: nn.Module):
        """Take over the form of the student's head."""
        super().__init__()
        self.reader, self.names = reader, {i: student.names[i] for i in reader.classes.student}
        self.model = [FinalPredictions(student.model[-1], len(self.names))]

    def forward(self, student: dict[str, dict], teacher: Capture, batch: dict[str, Any]) -> dict[str, dict]:
        """Return what `heads.predictions.branches` would, on the anchors of the student's one-to-many branch."""
        branch = student["one2many"]
        like = branch["scores"].new_empty(0, dtype=torch.float32)
        points, strides, size = anchor_points(branch["shapes"], branch["strides"], like)
        objects, images = self.reader(teacher, batch), len(branch["scores"])
        boxes = corners(pixels(objects.boxes, size))
        counts = torch.bincount(objects.image, minlength=images).tolist()
        each = zip(boxes.split(counts), objects.scores.split(counts))
        drawn = [draw(b, s, points, strides) for b, s in each]
        scores, found = (torch.stack(x) for x in zip(*drawn))
        sides = found * strides.new_tensor([-1, -1, 1, 1])[:, None] / strides
        bins = branch["boxes"].shape[1] // 4
        form = {"shapes": branch["shapes"], "strides": branch["strides"]}
        told = {"scores": scores.logit(FLOOR), "boxes": sides if bins == 1 else in_bins(sides, bins)}
        return {"one2many": {**told, **form}}


class FinalPredictions(nn.Module):
    """The form of a head with class scores and boxes on a student's anchors."""

    one2one_cv2 = None

    def __init__(self, head: nn.Module, count: int):
        """Take over what terms ask a head for."""
        super().__init__()
        self.nc, self.reg_max, self.stride, self.cv2 = count, head.reg_max, head.stride, ()


def build_dense(config: Config, student: nn.Module, teacher: nn.Module) -> Dense | None:
    """Return a teacher of final boxes on the student's anchors.

    Returns:
        (Dense | None): None where the teacher has raw predictions of its own or the student has no anchors, where the
            two share no class, and where they share more than boxes: masks and keypoints are for `pseudo`.
    """
    if not is_final(teacher) or outputs(student.model[-1])[:2] != ["classes", "boxes"]:
        return None
    try:
        classes = pair_classes(config, student, teacher)
        if shared_extra(student, teacher).name:
            return None
    except ValueError:  # `pseudo` says what does not fit
        return None
    return Dense(FinalBoxes(classes, len(student.names), CONF, teacher), student)


def describe_dense(names: Sequence[str], student: nn.Module, teacher: nn.Module) -> str:
    """Return what terms compare with where a teacher has final boxes alone, in a sentence."""
    lack = describe_lack(student, teacher)
    return (
        f"Distillation: the teacher's final boxes are spread over the student's anchors, for {', '.join(names)} to "
        f"compare with{f'; {lack}' if lack else ''}."
    )


def draw(
    boxes: torch.Tensor, scores: torch.Tensor, points: torch.Tensor, strides: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the anchors of an image say.

    Args:
        boxes (torch.Tensor): Boxes (n, 4) from corner to corner, in pixels.
        scores (torch.Tensor): Their scores (n, nc).
        points (torch.Tensor): The anchors (2, A), in pixels.
        strides (torch.Tensor): Pixels a cell of each anchor (A,).

    Returns:
        scores (torch.Tensor): Scores (nc, A).
        sides (torch.Tensor): From each anchor to left, top, right and bottom (4, A), to the right and down positive, in
            pixels.
    """
    if not len(boxes):
        return points.new_zeros(scores.shape[1], points.shape[1]), points.new_zeros(4, points.shape[1])
    share = spread(boxes, points, strides)  # (n, A)
    which = (share * scores.amax(1, keepdim=True)).argmax(0)  # (A,)
    return (share.gather(0, which[None]) * scores[which].T), boxes[which].T - points.repeat(2, 1)


def spread(boxes: torch.Tensor, points: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
    """Return the share (n, A) that each anchor has of each box, 1 for its best; a box lies in one cell at least."""
    half, overlap, inside = CELLS / 2 * strides, torch.ones((), device=boxes.device), True
    for at, low, high in zip(points, boxes[:, :2].T[:, :, None], boxes[:, 2:].T[:, :, None]):  # across, then down
        overlap = overlap * (torch.minimum(at + half, high) - torch.maximum(at - half, low)).clamp(min=0)
        inside = inside & ((at - (low + high) / 2).abs() <= torch.maximum(high - low, strides) / 2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1, keepdim=True)
    share = (overlap / (4 * half**2 + area - overlap)) ** POWER * inside
    return share / share.amax(1, keepdim=True).clamp(min=1e-30)


def in_bins(sides: torch.Tensor, bins: int) -> torch.Tensor:
    """Return logits (N, 4 * bins, A) of distances (N, 4, A) in cells, each split between the two bins around it."""
    return rebin(torch.ones_like(sides[:, :, None]), bins, shift=sides).clamp_(min=1e-6).log_().flatten(1, 2)
