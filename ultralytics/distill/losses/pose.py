# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Keypoints and their visibility."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .analytic import negative_entropy
from .response import AnchorLoss, reach, sides


class Pose(AnchorLoss):
    """Distance of decoded keypoints in the units of their accuracy, and the divergence of their visibility.

    With k the keypoints of an anchor in grid units, v the probability that they are visible, and u = 2 * sigma_k * r,
    r the square root of the area of the teacher's box, at least one cell:

        L = 1 / Z * sum over anchors of w_a * mean over keypoints of
            v_T * (h((x_S - x_T) / u) + h((y_S - y_T) / u)) + BCE(v_S, v_T) - H(v_T),

    h the smooth L1 (Girshick, "Fast R-CNN", ICCV 2015, arXiv 1504.08083, equation 3), H the teacher's entropy, so that
    equal keypoints give zero. Keypoints are judged by the object keypoint similarity exp(-d^2 / (2 * u^2)), d their
    distance and sigma_k how exactly each is labelled (Lin et al., "Microsoft COCO", 2014, the keypoint evaluation);
    near zero h is its exponent, and farther off its slope does not fade. w_a = max_c sigmoid(scores_T),
    Z = max(sum of w_a over the batch, 1). Without `sigmas` each is 1 / K. Where a teacher
    tells no visibility, v_T is 1; where either model tells none, visibility is not compared. Z is a statistic of the
    (local) batch, so a batch's value is not the mean of its images'. Six and a half tensors of the keypoints' size are
    kept for backward.
    """

    reads = ("scores", "boxes", "keypoints")
    needs_outputs = ("keypoints",)

    def distance(self, student: dict[str, Any], teacher: dict[str, Any]) -> torch.Tensor:
        """Return the distance (N, A) of two dicts with `keypoints` (N, K, D, A).

        These are x and y in grid units from the anchor, and for D = 3 the logit of visibility. The student's dict may
        have `sigmas` (K,). The teacher's has `boxes` (N, 4 * reg_max, A), and what `reach` reads where its cells
        have another size.
        """
        s, t = self.both(student, teacher, "keypoints")
        place = t[:, :, :2]
        if "scale" in teacher:
            place = place * teacher["scale"][2:] + teacher["shift"][:, None, 2:]
        self.same_shape(s[:, :, :2], place)
        bw, bh = sides(reach({**teacher, "boxes": self.need(teacher, "boxes", "teacher's dict")}))
        sigmas = student["sigmas"] if "sigmas" in student else s.new_full((s.shape[1],), 1 / s.shape[1])
        size = 2 * sigmas[:, None, None] * (bw * bh).clamp(min=1).sqrt()[:, None, None]
        visible = t[:, :, 2].sigmoid() if t.shape[2] == 3 else torch.ones_like(t[:, :, 0])
        error = F.smooth_l1_loss(s[:, :, :2] / size, place / size, reduction="none").sum(2) * visible
        if s.shape[2] == t.shape[2] == 3:
            bce = F.binary_cross_entropy_with_logits(s[:, :, 2], visible, reduction="none")
            error = error + bce + negative_entropy(visible)
        return error.mean(1)
