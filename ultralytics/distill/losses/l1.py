# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Difference of decoded box sides."""

from __future__ import annotations

from typing import Any

import torch

from .response import BoxLoss, anchor_points


class L1(BoxLoss):
    """Difference of the two models' box sides at each anchor, in shares of the image.

    What upstream's `BboxLoss` has for heads with reg_max = 1, in the place of the bins' divergence, with the teacher's
    sides for the label's:

        L = 1 / Z * sum over anchors of w_a * mean over 4 sides of |d_S - d_T| * stride / image,

    d a side's distance from the anchor in cells, image the width for left and right and the height for top and bottom,
    w_a = max_c sigmoid(scores_T) and Z = max(sum of w_a over the batch, 1), where upstream takes the labelled anchors
    and their target scores. With bins d is their expectation. Other than `giou` it has the same slope for large and
    small boxes, and for boxes that do not overlap. Z is a statistic of the (local) batch, so a batch's value is not the
    mean of its images'.

    Args:
        margin (float): Where the weight begins to fall, as `Loss` says; 0 keeps it.
    """

    def distance(self, student: dict[str, Any], teacher: dict[str, Any]) -> torch.Tensor:
        """Return the mean difference of sides (N, A) of two dicts with `boxes`, `shapes` and `strides`."""
        s, t = self.boxes(student, teacher)
        shapes, strides = (self.need(student, k, "student's dict") for k in ("shapes", "strides"))
        _, cells, (height, width) = anchor_points(shapes, strides, s)
        error = (s - t).abs() * torch.stack([cells / width, cells / height] * 2)  # (N, 4, A)
        return error.mean(1)
