# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The tutorials' names over today's losses: lists of maps in, one scalar out, and gradients that reach the student."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ultralytics.distill.align import Align
from ultralytics.distill.graph import probe, run_layers
from ultralytics.distill.losses import CWD, MGD, Mimic
from ultralytics.distill.upstream import unwrap_model


class _PerLevel(nn.Module):
    """A loss for each level, summed."""

    def __init__(self, losses: Sequence[nn.Module]):
        """Register the losses, so that their own layers are moved, saved and trained."""
        super().__init__()
        self.losses = nn.ModuleList(losses)

    def forward(
        self, y_s: Sequence[torch.Tensor], y_t: Sequence[torch.Tensor], layer: str | None = None
    ) -> torch.Tensor:
        """Return the sum over levels.

        Args:
            y_s (Sequence[torch.Tensor]): Student maps, each (N, C, H, W), of the teacher's widths.
            y_t (Sequence[torch.Tensor]): Teacher maps of the same shapes; no gradient reaches them.
            layer (str, optional): Accepted as the tutorials pass it, and not used.

        Returns:
            (torch.Tensor): Scalar.
        """
        if not len(y_s) == len(y_t) == len(self.losses):
            raise ValueError(
                f"{type(self).__name__} was built for {len(self.losses)} levels, got {len(y_s)} student and "
                f"{len(y_t)} teacher maps."
            )
        return sum(loss(s, t) for loss, s, t in zip(self.losses, y_s, y_t))


class CWDLoss(_PerLevel):
    """Channel-wise distillation over a list of levels; see `ultralytics.distill.losses.CWD`."""

    def __init__(self, channels_s: Sequence[int], channels_t: Sequence[int], tau: float = 1.0):
        """Build one loss for each level, on maps as they are."""
        super().__init__([CWD(tau=tau, norm="none") for _ in channels_t])


class MGDLoss(_PerLevel):
    """Masked generative distillation over a list of levels; see `ultralytics.distill.losses.MGD`."""

    def __init__(
        self,
        channels_s: Sequence[int],
        channels_t: Sequence[int],
        alpha_mgd: float = 0.00002,
        lambda_mgd: float = 0.65,
    ):
        """Build one generator for each level."""
        super().__init__([MGD(alpha_mgd=alpha_mgd, lambda_mgd=lambda_mgd, channels_t=c) for c in channels_t])


class MimicLoss(_PerLevel):
    """Mean squared difference over a list of levels; see `ultralytics.distill.losses.Mimic`."""

    def __init__(self, channels_s: Sequence[int], channels_t: Sequence[int]):
        """Build one loss for each level, on maps as they are."""
        super().__init__([Mimic(norm="none") for _ in channels_t])


class FeatureLoss(nn.Module):
    """Aligns the student's maps to the teacher's widths, normalises both, and compares them.

    Args:
        channels_s (Sequence[int]): Student widths.
        channels_t (Sequence[int]): Teacher widths.
        distiller (str): `cwd`, `mgd` or `mimic`.
        loss_weight (float): Multiplier.
    """

    LOSSES = {"cwd": CWDLoss, "mgd": MGDLoss, "mimic": MimicLoss}

    def __init__(
        self, channels_s: Sequence[int], channels_t: Sequence[int], distiller: str = "cwd", loss_weight: float = 1.0
    ):
        """Build the aligns and the loss."""
        super().__init__()
        if distiller not in self.LOSSES:
            raise ValueError(f"'distiller={distiller}' is unknown; choose from {', '.join(self.LOSSES)}.")
        self.loss_weight = loss_weight
        self.aligns = nn.ModuleList(Align(s, t, norm="batch") for s, t in zip(channels_s, channels_t))
        self.feature_loss = self.LOSSES[distiller](channels_s, channels_t)

    def forward(self, y_s: Sequence[torch.Tensor], y_t: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the weighted sum over levels for raw maps of both models."""
        pairs = [align(s, t) for align, s, t in zip(self.aligns, y_s, y_t)]
        return self.loss_weight * self.feature_loss(*(list(x) for x in zip(*pairs)))


def get_fpn_features(x: torch.Tensor, model: nn.Module, fpn_layers: Sequence[int] = (15, 18, 21)) -> list[torch.Tensor]:
    """Return the maps of some layers for a batch of images, with gradient unless the caller switched it off.

    Args:
        x (torch.Tensor): Images (N, C, H, W).
        model (nn.Module): An Ultralytics model; wrappers are peeled.
        fpn_layers (Sequence[int]): Layer indices.

    Returns:
        (list[torch.Tensor]): Maps in the order of the layers.
    """
    maps = run_layers(unwrap_model(model), x, fpn_layers).maps
    return [maps[i] for i in sorted(maps)]


def get_channels(model: nn.Module, fpn_layers: Sequence[int] = (15, 18, 21)) -> list[int]:
    """Return the widths of some layers' maps; BatchNorm statistics and the random state stay as they are."""
    widths = probe(unwrap_model(model), sorted(set(fpn_layers)))
    return [widths[i][0] for i in sorted(widths)]
