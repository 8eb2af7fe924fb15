# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Overlap of rotated boxes."""

from __future__ import annotations

from typing import Any

import torch

from .response import AnchorLoss, distances

FLOOR = 1e-3  # squared cells added to the variances: an empty box is a point that still has a place
EPS = 1e-6


class ProbIoU(AnchorLoss):
    """Probabilistic overlap of the two models' rotated boxes at each anchor.

    Murrugarra-Llerena, Kirsten, Jung, "Gaussian Bounding Boxes and Probabilistic Intersection-over-Union for Object
    Detection", 2021, arXiv 2106.06072, equations 5 to 8. A box of sides b and h, turned by an angle, is a Gaussian
    with variances b^2 / 12 and h^2 / 12 along its sides. With B the Bhattacharyya distance of two of them:

        L = 1 / Z * sum over anchors of w_a * (1 - ProbIoU),    1 - ProbIoU = sqrt(1 - exp(-B)),

    w_a = max_c sigmoid(scores_T) and Z = max(sum of w_a over the batch, 1). Both boxes are given from the same anchor,
    in grid units, so anchor and stride do not matter. A teacher that sees images of another size has its Gaussians
    stretched to the student's. The root is shifted by 1e-6 to have a slope at zero. Z is a statistic of the (local)
    batch, so a batch's value is not the mean of its images'. The bins' distribution and some thirty numbers an anchor
    are kept for backward.
    """

    reads = ("scores", "boxes", "angle")
    needs_outputs = ("angles",)

    def distance(self, student: dict[str, Any], teacher: dict[str, Any]) -> torch.Tensor:
        """Return 1 - ProbIoU (N, A) of two dicts with `boxes` (N, 4 * reg_max, A) and `angle` (N, 1, A) in radians."""
        s, t = (gaussian(*x) for x in zip(*(self.both(student, teacher, k) for k in ("boxes", "angle"))))
        if "scale" in teacher:
            t = stretched(t, teacher["scale"], teacher["shift"])
        self.same_shape(s[0], t[0])
        return (1 - (-bhattacharyya(s, t)).exp() + EPS).sqrt() - EPS**0.5


def gaussian(boxes: torch.Tensor, angle: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return centres x and y, and the covariance's entries xx, yy and xy, each (N, A), in grid units from the anchors.

    A head's boxes are (N, 4 * reg_max, A), distances along the turned sides, and its angles (N, 1, A) in radians.
    """
    left, top, right, bottom = distances(boxes).unbind(1)
    x, y = (right - left) / 2, (bottom - top) / 2
    b, h = ((v.square() / 12 + FLOOR) for v in (left + right, top + bottom))
    cos, sin = angle[:, 0].cos(), angle[:, 0].sin()
    cos2, sin2 = cos.square(), sin.square()
    return x * cos - y * sin, x * sin + y * cos, b * cos2 + h * sin2, b * sin2 + h * cos2, (b - h) * cos * sin


def stretched(found: tuple[torch.Tensor, ...], scale: torch.Tensor, shift: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return Gaussians as `gaussian` gives them, in other units and from other anchors, as `match_levels` has both."""
    x, y, xx, yy, xy = found
    (across, down), (dx, dy) = scale[2:], shift[:, 2:].unbind(1)
    xx, yy = ((v - FLOOR) * a.square() + FLOOR for v, a in ((xx, across), (yy, down)))
    return x * across + dx, y * down + dy, xx, yy, xy * across * down


def bhattacharyya(s: tuple[torch.Tensor, ...], t: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the distance (N, A) of two Gaussians as `gaussian` gives them, at least 0."""
    dx, dy = s[0] - t[0], s[1] - t[1]
    xx, yy, xy = ((a + b) / 2 for a, b in zip(s[2:], t[2:]))
    both, one, other = ((a * b - c.square()).clamp(min=FLOOR**2) for a, b, c in ((xx, yy, xy), s[2:], t[2:]))
    moved = (yy * dx.square() + xx * dy.square() - 2 * xy * dx * dy) / both
    return (moved / 8 + (both.log() - (one.log() + other.log()) / 2) / 2).clamp(min=0)
