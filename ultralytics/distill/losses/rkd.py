# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Relational distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ultralytics.distill.values import number, switch

from .relation import RelationLoss, pool

EPS = 1e-6  # images nearer than this count as the same, and what cannot be compared gets no gradient


class RKD(RelationLoss):
    """Relational distillation: distances and angles between the images of a batch.

    Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068, equations 5 to 9, on the
    features x pooled over positions (N, C):

        distance: d_ij = ||x_i - x_j||, divided by the mean of those above zero
        angle:    cos of the angle at x_j between x_i and x_k
        L = weight_d * mean over pairs of smooth L1(distances) + weight_a * mean over triples of smooth L1(angles).

    The means include the pairs and triples of an image with itself, as in the authors' code. Needs N^2 * (C + N)
    numbers, far below a map. Uses batch statistics, each process its own batch's: a batch's value is not the mean of
    its images', and one image gives zero.

    Args:
        weight_d (float): Weight of the distances.
        weight_a (float): Weight of the angles; at 0 they are not computed.
        unit (bool): Bring the pooled features to length 1 before, as some implementations do.
    """

    def __init__(self, weight_d: float = 25.0, weight_a: float = 50.0, unit: bool = False):
        """Check and keep the parameters."""
        super().__init__()
        self.weight_d = number("weight_d", weight_d, least=0)
        self.weight_a = number("weight_a", weight_a, least=0)
        self.unit = switch("unit", unit)

    def relation(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the difference of distances and angles in two maps."""
        (d_s, a_s), (d_t, a_t) = self.geometry(student), self.geometry(teacher)
        loss = self.weight_d * F.smooth_l1_loss(d_s, d_t)
        return loss if a_s is None or a_t is None else loss + self.weight_a * F.smooth_l1_loss(a_s, a_t)

    def geometry(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the relative distances (N, N) of a map's images and the cosines (N, N, N) of their angles."""
        x = pool(x)
        x = F.normalize(x, dim=1, eps=EPS) if self.unit else x
        edge = x.unsqueeze(0) - x.unsqueeze(1)  # (N, N, C), [j, i] = x_i - x_j
        distance = torch.linalg.vector_norm(edge, dim=2)
        apart = distance > EPS
        mean = (distance.sum() / apart.sum().clamp(min=1)).clamp(min=EPS)
        if not self.weight_a:
            return distance / mean, None
        # the edges' products are divided afterwards: of N * N * C numbers only `edge` is kept for backward
        inverse = torch.where(apart, 1 / distance.clamp(min=EPS), 0)
        return distance / mean, (edge @ edge.transpose(1, 2)) * inverse.unsqueeze(1) * inverse.unsqueeze(2)
