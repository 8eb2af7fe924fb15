# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Overlap of decoded boxes."""

from __future__ import annotations

from typing import Any

import torch

from .response import BoxLoss, sides

EPS = 1e-7


class GIoU(BoxLoss):
    """Generalised overlap of the two models' boxes at each anchor.

    Rezatofighi, Tsoi, Gwak, Sadeghian, Reid, Savarese, "Generalized Intersection over Union", CVPR 2019,
    arXiv 1902.09630, algorithm 1, used between teacher and student as in BCKD, arXiv 2308.14286, equation 7:

        L = 1 / Z * sum over anchors of w_a * (1 - GIoU(box_S, box_T)),

    w_a = max_c sigmoid(scores_T) and Z = max(sum of w_a over the batch, 1), where BCKD takes the classes' disagreement
    and the positive anchors. Both boxes are given from the same anchor, so their four distances in grid units decide,
    whatever the anchor and stride. With reg_max = 1 the head's outputs are the distances, otherwise they are the
    expectation over the bins; a teacher that sees images of another size is heard in the student's units. A box turned
    inside out counts as empty. Z is a statistic of the (local) batch: a batch's value is not the mean of its images'.

    Args:
        margin (float): Where the weight begins to fall, as `Loss` says; 0 keeps it.
    """

    def distance(self, student: dict[str, Any], teacher: dict[str, Any]) -> torch.Tensor:
        """Return 1 - GIoU (N, A) of two dicts with `boxes` (N, 4 * reg_max, A)."""
        return 1 - giou(*self.boxes(student, teacher))


def giou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the generalised overlap (N, A) of boxes given as distances (N, 4, A) from common points."""
    (aw, ah), (bw, bh) = sides(a), sides(b)
    iw, ih = sides(torch.minimum(a, b))
    cw, ch = sides(torch.maximum(a, b))
    inter, hull = iw * ih, cw * ch
    union = aw * ah + bw * bh - inter
    # epsilon above and below: two empty boxes are equal, and a box always equals itself
    return (inter + EPS) / (union + EPS) - (hull - union) / (hull + EPS)
