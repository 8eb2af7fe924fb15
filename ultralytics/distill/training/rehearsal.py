# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A step without labels, for upstream's auto-batch: it weighs the model with images, and teacher and terms count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ultralytics.distill.graph import Tapped, tap
from ultralytics.distill.heads.common import head_strides
from ultralytics.distill.heads.predictions import branches
from ultralytics.distill.upstream import unwrap_model

if TYPE_CHECKING:
    from ultralytics.distill.training.composite import Composite


def rehearse(composite: Composite, images: torch.Tensor) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """Run student, teacher and terms on images alone.

    Args:
        composite (Composite): Student, distiller and teacher.
        images (torch.Tensor): Images (N, C, H, W), 0 to 1; each is taken to hold one object.

    Returns:
        output (Any): What the student returned.
        shown (Any): What an online teacher returned, with its graph; None of a frozen one.
        columns (dict[str, torch.Tensor]): The terms, with their graph.
    """
    student, distiller = unwrap_model(composite._orig_mod), composite.distiller
    with tap(student, distiller.layers[0], distiller.needs_features) as seen:
        output = student(images)
    if composite.online:
        shown, learning = composite.teacher.watch(images)
    else:
        shown, learning = composite.teacher(distiller.prepare(images)), None
    targets = _no_targets(student, seen) if distiller.needs_targets else {}
    return output, learning, distiller(seen, shown, _one_object_each(images), targets)[0]


def _one_object_each(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return a batch with one box in the middle of each image."""
    count = len(images)
    return {
        "img": images,
        "cls": images.new_zeros(count, 1),
        "bboxes": images.new_full((count, 4), 0.5),
        "batch_idx": torch.arange(count, device=images.device, dtype=images.dtype),
    }


def _no_targets(student: nn.Module, seen: Tapped) -> dict[str, dict[str, torch.Tensor]]:
    """Return, for each branch, targets as the assigner gives them where there is no object."""
    found = branches(seen.output, head_strides(student))
    scores = {k: v["scores"].detach() for k, v in found.items()}
    return {k: {"target_scores": s * 0, "fg_mask": s.new_zeros(len(s), s.shape[2]).bool()} for k, s in scores.items()}
