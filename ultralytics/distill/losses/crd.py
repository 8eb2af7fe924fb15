# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Contrastive distillation within a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.distill.values import number, whole

from .relation import RelationLoss, pool


class CRD(RelationLoss):
    """Contrastive distillation: a student's image shall find its own teacher's among those of the batch.

    Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699, with the in-batch
    InfoNCE of van den Oord, Li, Vinyals, arXiv 1807.03748, equation 4, in place of the memory bank, which would need
    the data set's size and each image's index. z = a linear map of the pooled features, of length 1, trained along:

        L = mean over images i of -log( exp(z_S,i z_T,i / temperature) / sum over j of exp(z_S,i z_T,j / temperature) ).

    It is log N when nothing tells the images apart; its floor is not zero but log(1 + (N - 1) exp(-(1 - c) /
    temperature)) where embeddings match and c is the cosine between different images. Uses batch statistics, each
    process its own batch's: a batch's value is not the mean of its images', and one image gives zero.

    Args:
        channels_s (int): Channels of the student's map.
        channels_t (int): Channels of the teacher's map.
        dim (int): Length of the embeddings.
        temperature (float): Of the softmax over images. Not called `tau`: it sharpens similarities in [-1, 1], and the
            value that suits the softening of class or bin logits (`distill_tau`) would ruin it.
    """

    def __init__(self, channels_s: int, channels_t: int, dim: int = 128, temperature: float = 0.07):
        """Check the parameters and build the embeddings."""
        super().__init__()
        dim = whole("dim", dim, least=1)
        self.embed_s = nn.Linear(whole("channels_s", channels_s, least=1), dim)
        self.embed_t = nn.Linear(whole("channels_t", channels_t, least=1), dim)
        self.temperature = number("temperature", temperature, above=0)

    def relation(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the contrast of two maps."""
        z_s = F.normalize(self.embed_s(pool(student)), dim=1, eps=1e-6)
        z_t = F.normalize(self.embed_t(pool(teacher)), dim=1, eps=1e-6)
        return F.cross_entropy(z_s @ z_t.T / self.temperature, torch.arange(len(z_s), device=z_s.device))
