# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Assembled masks of instance segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ultralytics.distill.values import whole

from .analytic import weighted_bce
from .base import Loss
from .response import anchor_points, confidence, reach, total


class Mask(Loss):
    """Binary cross-entropy of assembled masks, inside the teacher's boxes.

    Coefficients and prototypes of two models live in bases of their own and do not compare; the masks that they make
    do. For the `top` anchors of each image by the teacher's confidence w_a = max_c sigmoid(scores_T), with p the
    student's and q the teacher's mask probability at a pixel of the prototypes' grid:

        L = 1 / Z * sum over these anchors of w_a * mean over the pixels in the teacher's box of BCE(p, q) - H(q),

    Z = max(sum of these w_a over the batch, 1). H(q) is the teacher's entropy, so that equal masks give zero. The task
    loss of YOLACT (Bolya et al., ICCV 2019, arXiv 1904.02689, section 3.1), with the teacher's masks in place of the
    labels. A pixel is in a box if its centre is. Z is a statistic of the (local) batch, so a batch's value is not the
    mean of its images'. One map for each of these anchors is kept for backward.

    Args:
        top (int): Anchors compared in each image, at most.
    """

    reads = ("scores", "boxes", "mask_coefficient", "proto")
    needs_outputs = ("masks",)

    def __init__(self, top: int = 32):
        """Check and keep the number of anchors."""
        super().__init__()
        self.top = whole("top", top, least=1)

    def loss(self, student: dict[str, Any], teacher: dict[str, Any], batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the divergence of two dicts with `mask_coefficient` (N, M, A) and `proto` (N, M, H, W).

        The teacher's has an M, H and W of its own, `boxes` (N, 4 * reg_max, A), `scores` (N, nc, A), `shapes` and
        `strides` of its levels, and what `reach` reads where its cells have another size.
        """
        w = confidence(self.need(teacher, "scores", "teacher's dict"))
        w, index = w.topk(min(self.top, w.shape[1]), 1)  # (N, K)
        x = self.masks(student, index, "student's dict")
        with torch.no_grad():
            y = self.masks(teacher, index, "teacher's dict")
            if y.shape != x.shape:
                y = F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=False)
            inside = self.inside(teacher, index, x.shape[2:])
            weight = inside * (w / inside.sum((2, 3)).clamp(min=1))[..., None, None] / total(w)
        return weighted_bce(x, y.sigmoid(), weight)

    def masks(self, side: dict[str, Any], index: torch.Tensor, where: str) -> torch.Tensor:
        """Return the mask logits (N, K, H, W) of some anchors (N, K)."""
        c, proto = self.need(side, "mask_coefficient", where), self.need(side, "proto", where)
        if c.shape[1] != proto.shape[1]:
            raise ValueError(
                f"mask assembles as many coefficients as prototypes, got {tuple(c.shape)} and {tuple(proto.shape)}"
            )
        chosen = c.gather(2, index[:, None].expand(-1, c.shape[1], -1))  # (N, M, K)
        return torch.einsum("nmk,nmhw->nkhw", chosen, proto)

    def inside(self, teacher: dict[str, Any], index: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """Return a map (N, K, H, W) for each anchor, 1 where a pixel's centre is in its box and 0 elsewhere."""
        boxes = self.need(teacher, "boxes", "teacher's dict")
        points, strides, image = anchor_points(teacher["shapes"], teacher["strides"], boxes)
        pixels = reach(teacher) * strides  # (N, 4, A)
        corners = torch.cat([points - pixels[:, :2], points + pixels[:, 2:]], 1)
        x1, y1, x2, y2 = (v.gather(1, index)[..., None] for v in corners.unbind(1))  # (N, K, 1)
        (h, w), like = size, {"device": boxes.device, "dtype": boxes.dtype}
        x = (torch.arange(w, **like) + 0.5) * (image[1] / w)
        y = (torch.arange(h, **like) + 0.5) * (image[0] / h)
        columns, rows = (x >= x1) & (x < x2), (y >= y1) & (y < y2)  # (N, K, W), (N, K, H)
        return (rows[..., None] & columns[:, :, None]).to(boxes)
