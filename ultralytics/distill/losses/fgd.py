# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Focal and global distillation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.distill.values import number, whole

from .base import Loss

CHUNK = 256  # boxes that are drawn at once, so that a crowded batch costs no more memory than a sparse one


def cover(centre: torch.Tensor, side: torch.Tensor, cells: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which of a row of cells each box covers, (M, cells), and its side in cells, from units of the image."""
    low, high = ((centre - side / 2) * cells).floor(), ((centre + side / 2) * cells).ceil()
    at = torch.arange(cells, device=centre.device)
    return (at >= low.unsqueeze(1)) & (at <= high.unsqueeze(1)), high - low + 1


class GcBlock(nn.Module):
    """Global context block, up to its sum with the map: the vector (N, C, 1, 1) that it adds to a map (N, C, H, W).

    Cao, Xu, Lin, Wei, Hu, "GCNet", 2019, arXiv 1904.11492. The last layer starts at zero, so at first nothing is added.
    """

    def __init__(self, c: int):
        """Build the block for maps of `c` channels."""
        super().__init__()
        hidden = max(c // 2, 1)
        self.key = nn.Conv2d(c, 1, 1)
        self.add = nn.Sequential(
            nn.Conv2d(c, hidden, 1), nn.LayerNorm([hidden, 1, 1]), nn.ReLU(inplace=True), nn.Conv2d(hidden, c, 1)
        )
        nn.init.kaiming_normal_(self.key.weight)
        nn.init.zeros_(self.add[-1].weight)
        nn.init.zeros_(self.add[-1].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what is to be added to each position of `x`."""
        where = self.key(x).flatten(2).softmax(2)  # (N, 1, HW)
        return self.add((x.flatten(2) @ where.transpose(1, 2)).unsqueeze(3))


def upright(boxes: torch.Tensor, aspect: float) -> tuple[torch.Tensor, ...]:
    """Return centre x, y, width and height (M,) of boxes (M, 4) in units of the image.

    Of turned ones (M, 5), the angle in radians, it is their upright hulls; `aspect` is the image's height by its width.
    """
    if boxes.shape[-1] != 5:
        return boxes.view(-1, 4).unbind(1)
    cx, cy, w, h, angle = boxes.unbind(1)
    cos, sin = angle.cos().abs(), angle.sin().abs()
    return cx, cy, w * cos + h * aspect * sin, w / aspect * sin + h * cos


class FGD(Loss):
    """Focal and global distillation: objects and background apart, both weighted by the teacher's attention.

    Yang, Li, Jiang, Gong, Yuan, Zhao, Yuan, "Focal and Global Knowledge Distillation for Detectors", CVPR 2022,
    arXiv 2111.11837, equations 2 to 12, in the form of the authors' code:

        A_s(F) = H * W * softmax over positions of (mean over channels of |F|) / temp
        A_c(F) = C * softmax over channels of (mean over positions of |F|) / temp
        M_fg = the largest 1 / (h * w) of the objects that cover a cell, else 0
        M_bg = 1 / (number of cells that no object covers) there, else 0
        L_focal = sum of (alpha_fgd * M_fg + beta_fgd * M_bg) * A_s(T) * A_c(T) * (S - T)^2
        L_attention = gamma_fgd * (sum |A_c(S) - A_c(T)| + sum |A_s(S) - A_s(T)|)
        L_relation = lambda_fgd * sum of (R_S(S) - R_T(T))^2

    each sum over C, H and W, then the mean over images. h and w are the sides in cells, ceil(high) - floor(low) + 1;
    R is a GcBlock, one for each model, trained along. The first public version of the code had M_fg transposed; this
    is the later one. Per-image mean: a batch's value is the mean of its images'. For backward it keeps one map, the
    difference, beyond its inputs; the masks are (N, 1, H, W).

    Args:
        alpha_fgd (float): Weight of the objects; the authors' values for RetinaNet are the defaults.
        beta_fgd (float): Weight of the background.
        gamma_fgd (float): Weight of the attention.
        lambda_fgd (float): Weight of the relation.
        temp (float): Temperature of the attention.
        channels_t (int): Channels of the teacher's map.
    """

    needs_labels = True

    def __init__(
        self,
        alpha_fgd: float = 1e-3,
        beta_fgd: float = 5e-4,
        gamma_fgd: float = 1e-3,
        lambda_fgd: float = 5e-6,
        temp: float = 0.5,
        channels_t: int = 256,
    ):
        """Check the parameters and build the relation blocks."""
        super().__init__()
        self.alpha_fgd = number("alpha_fgd", alpha_fgd, least=0)
        self.beta_fgd = number("beta_fgd", beta_fgd, least=0)
        self.gamma_fgd = number("gamma_fgd", gamma_fgd, least=0)
        self.lambda_fgd = number("lambda_fgd", lambda_fgd, least=0)
        self.temp = number("temp", temp, above=0)
        c = whole("channels_t", channels_t, least=1)
        self.relation_s, self.relation_t = GcBlock(c), GcBlock(c)

    def attention(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return attention over positions (N, HW) and over channels (N, C) of a map (N, C, H, W)."""
        size = x.abs().flatten(2)
        spatial = (size.mean(1) / self.temp).softmax(1) * size.shape[2]
        return spatial, (size.mean(2) / self.temp).softmax(1) * size.shape[1]

    def masks(self, teacher: torch.Tensor, batch: dict[str, Any] | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw the batch's boxes, or the upright hulls of turned ones, on the cells of a map (N, C, H, W).

        Returns:
            foreground (torch.Tensor): (N, HW), the largest 1 / area of the boxes that cover a cell, 0 elsewhere.
            background (torch.Tensor): (N, HW), 0 where a box is, elsewhere 1 over the number of such cells.
        """
        n, _, h, w = teacher.shape
        cx, cy, bw, bh = upright(self.need(batch, "bboxes", "batch").to(teacher), h / w)
        image = self.need(batch, "batch_idx", "batch").to(teacher.device).view(-1, 1).long()
        (inside_x, side_x), (inside_y, side_y) = cover(cx, bw, w), cover(cy, bh, h)
        value = 1 / (side_x * side_y)
        foreground = teacher.new_zeros(n, h * w)
        for i in range(0, len(value), CHUNK):
            j = slice(i, i + CHUNK)
            drawn = (inside_y[j, :, None] & inside_x[j, None]).flatten(1) * value[j, None]
            foreground.scatter_reduce_(0, image[j].expand(-1, h * w), drawn, "amax")
        background = (foreground == 0).to(teacher)
        return foreground, background / background.sum(1, keepdim=True).clamp(min=1)

    def loss(self, student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the distance of two maps (N, C, H, W)."""
        self.same_shape(student, teacher)
        n, _, h, w = teacher.shape
        spatial_s, channel_s = self.attention(student)
        spatial_t, channel_t = self.attention(teacher)
        foreground, background = self.masks(teacher, batch)
        weight = (self.alpha_fgd * foreground + self.beta_fgd * background) * spatial_t  # (N, HW)

        error = (student - teacher).flatten(2)
        square = error.square()  # kept for none of its uses below, only `error` is
        focal = (channel_t * (square @ weight.unsqueeze(2)).squeeze(2)).sum()
        attention = F.l1_loss(spatial_s, spatial_t, reduction="sum") + F.l1_loss(channel_s, channel_t, reduction="sum")
        # sum over positions of (error + shift)^2, multiplied out so that no second map is kept
        shift = (self.relation_s(student) - self.relation_t(teacher)).flatten(1)  # (N, C)
        relation = (square.sum(2) + 2 * shift * error.sum(2) + h * w * shift.square()).sum()
        return (focal + self.gamma_fgd * attention + self.lambda_fgd * relation) / n
