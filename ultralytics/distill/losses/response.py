# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What response losses share: confidence, normaliser, anchors and boxes, and the mix of soft and hard targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ultralytics.distill.values import number
from ultralytics.utils.tal import dist2bbox, dist2rbox, make_anchors

from .base import Loss

TINY = 1e-30  # a probability of which nothing is left


def confidence(scores: torch.Tensor) -> torch.Tensor:
    """Return w_a, the largest class probability at each anchor: (N, nc, A) logits to (N, A)."""
    return scores.amax(1).sigmoid()


def total(weight: torch.Tensor) -> torch.Tensor:
    """Return Z, the sum over the batch's anchors of their weight, at least 1."""
    return weight.sum().clamp(min=1)


def anchor_points(
    shapes: Sequence[tuple[int, int]], strides: Sequence[float], like: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, tuple[float, float]]:
    """Return where the anchors of all levels lie, whose shapes (H, W) are in cells and strides in pixels a cell.

    Returns:
        points (torch.Tensor): The cells' centres x, y in pixels (2, A).
        strides (torch.Tensor): Pixels a cell of each anchor (A,).
        image (tuple[float, float]): Height and width of the image in pixels.
    """
    points, cells = make_anchors(torch.tensor(shapes).to(like.dtype), strides)
    cells = cells.to(like)
    height, width = shapes[0]
    return (points.to(like) * cells).T, cells[:, 0], (height * strides[0], width * strides[0])


def distances(boxes: torch.Tensor) -> torch.Tensor:
    """Return left, top, right, bottom (N, 4, A), in grid units, of a head's output (N, 4 * reg_max, A)."""
    n, c, a = boxes.shape
    if c == 4:
        return boxes
    bins = torch.arange(c // 4, device=boxes.device, dtype=boxes.dtype)
    return torch.einsum("nsra,r->nsa", boxes.view(n, 4, c // 4, a).softmax(2), bins)


def standardize(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Return logits with mean 0 and deviation 1 over a dimension.

    Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", CVPR 2024, arXiv 2403.01427.
    """
    return F.layer_norm(x.movedim(dim, -1), x.shape[dim : dim + 1]).movedim(-1, dim)


def reach(teacher: dict[str, Any]) -> torch.Tensor:
    """Return left, top, right, bottom (N, 4, A) of a teacher's boxes in the student's cells, from its anchors.

    Where its images have another size it has `scale` (4, A) and `shift` (N, 4, A), as `heads.predictions.match_levels`
    makes them. The sides of rotated boxes, which have an `angle` (N, 1, A), lie along turned axes; they are taken to
    keep their form.
    """
    found = distances(teacher["boxes"])
    if "scale" not in teacher:
        return found
    scale, shift = along_sides(teacher)
    return found * scale + shift


def along_sides(teacher: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a teacher's `scale` and `shift` along the sides of its boxes, turned by their `angle` if they have one."""
    scale, shift = teacher["scale"], teacher["shift"]
    if "angle" in teacher:
        cos, sin = teacher["angle"].to(shift).cos(), teacher["angle"].to(shift).sin()
        across, down = shift[:, 2:3], shift[:, 3:]
        across, down = across * cos + down * sin, down * cos - across * sin
        scale, shift = (scale[:1] * scale[1:2]).sqrt(), torch.cat([-across, -down, across, down], 1)
    return scale, shift


def rebin(share: torch.Tensor, bins: int, scale: torch.Tensor | float = 1.0, shift: torch.Tensor | float = 0.0) -> Any:
    """Return distributions of distances on bins of another unit, each share split between the two bins around it.

    The expectation times `scale` plus `shift` is kept, as far as the new bins reach; what lies beyond is in the last.

    Args:
        share (torch.Tensor): Probabilities (N, 4, R, A) of whole distances 0 to R - 1.
        bins (int): Number of new bins, of the result (N, 4, bins, A).
        scale (torch.Tensor | float): New units to an old one, one number or (4, A).
        shift (torch.Tensor | float): New units that are added, one number or (N, 4, A).
    """
    old = torch.arange(share.shape[2], device=share.device, dtype=share.dtype)[:, None]  # (R, 1)
    scale, shift = (x.unsqueeze(-2) if isinstance(x, torch.Tensor) else x for x in (scale, shift))
    at = (old * scale + shift).clamp(0, bins - 1)  # (N, 4, R, A)
    return torch.stack([(share * (1 - (at - i).abs()).clamp(min=0)).sum(2) for i in range(bins)], 2)


def decode(
    sides: torch.Tensor,
    points: torch.Tensor,
    strides: torch.Tensor,
    angle: torch.Tensor | None = None,
    xywh: bool = True,
) -> torch.Tensor:
    """Return boxes as upstream decodes them, in pixels (N, A, 4), rotated ones with their angle (N, A, 5).

    Args:
        sides (torch.Tensor): Left, top, right, bottom (N, 4, A), in cells.
        points (torch.Tensor): The anchors (2, A) or (1, 2, A), in pixels.
        strides (torch.Tensor): Pixels a cell of each anchor, (A,) or (1, 1, A).
        angle (torch.Tensor, optional): Of rotated boxes (N, 1, A).
        xywh (bool): Centre, width and height, as rotated boxes always are; else from corner to corner.
    """
    at = points / strides
    if angle is None:
        return (dist2bbox(sides, at, xywh=xywh, dim=1) * strides).transpose(1, 2)
    return torch.cat([dist2rbox(sides, angle, at, dim=1) * strides, angle], 1).transpose(1, 2)


def sides(box: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return width and height (N, A) of boxes given as left, top, right, bottom (N, 4, A)."""
    width, height = (box[:, :2] + box[:, 2:]).clamp(min=0).unbind(1)
    return width, height


class ClassLoss(Loss):
    """A response loss on class logits, whose target is alpha * teacher + (1 - alpha) * label.

    Args:
        alpha (float): Share of the teacher in the target, in [0, 1].
    """

    needs_outputs: tuple[str, ...] = ("classes",)
    margin_of = "classes"

    def __init__(self, alpha: float = 1.0):
        """Check and keep the share."""
        super().__init__()
        self.alpha = number("alpha", alpha, least=0, most=1)
        self.needs_targets = self.alpha < 1

    def refuse_boxes(self, student: dict[str, Any]) -> None:
        """Raise for a detector's predictions: its classes do not exclude each other."""
        if "boxes" in student:
            why = "a softmax over classes, which detectors do not have"
            raise ValueError(f"{self.label} is {why}, use relative or bckd")

    def scores(self, student: dict[str, Any], teacher: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both models' class logits, (N, nc), (N, nc, A) or (N, nc, H, W)."""
        s, t = self.both(student, teacher, "scores")
        self.same_shape(s, t)
        return s, t

    def mix(self, soft: torch.Tensor, student: dict[str, Any]) -> torch.Tensor:
        """Return alpha * soft + (1 - alpha) * label, for the teacher's probabilities (N, nc) or (N, nc, ...).

        The labels are `target_scores` in the student's dict, in the shape of `soft`, not a number where there is none.
        """
        if self.alpha == 1:
            return soft
        hard = self.need(student, "target_scores", "student's dict").to(soft)
        self.same_shape(hard, soft)
        return torch.lerp(hard.where(~hard.isnan(), soft), soft, self.alpha)


class AnchorLoss(Loss):
    """A response loss that is a mean over the anchors, weighed by the teacher's confidence.

        L = 1 / Z * sum over anchors of w_a * distance_a,

    w_a = max_c sigmoid(scores_T) and Z = max(sum of w_a over the batch, 1).
    """

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the mean distance of two dicts; the teacher's has `scores` (N, nc, A)."""
        w = confidence(self.need(teacher, "scores", "teacher's dict"))  # (N, A)
        return (self.distance(student, teacher) * w).sum() / total(w)

    def distance(self, student: dict[str, Any], teacher: dict[str, Any]) -> torch.Tensor:
        """Return how far two dicts are apart at each anchor (N, A); subclasses write this."""
        raise NotImplementedError


class BoxLoss(AnchorLoss):
    """An anchor loss on the sides of upright boxes.

    Args:
        margin (float): Where the weight begins to fall, as `Loss` says; 0 keeps it.
    """

    upright = True
    reads: tuple[str, ...] = ("scores", "boxes")
    needs_outputs: tuple[str, ...] = ("classes", "boxes")

    def __init__(self, margin: float = 0.03):
        """Check and keep the parameter."""
        super().__init__()
        self.margin = number("margin", margin, least=0, most=1)

    def boxes(self, student: dict[str, Any], teacher: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both models' left, top, right, bottom (N, 4, A) in the student's cells."""
        s, t = self.both(student, teacher, "boxes")
        s, t = distances(s), reach({**teacher, "boxes": t})
        self.same_shape(s, t)
        return s, t
