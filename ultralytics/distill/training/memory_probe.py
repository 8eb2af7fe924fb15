# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Lets upstream's auto-batch, which weighs a model with images alone, count teacher and terms too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ultralytics.distill.graph import Capture, capture
from ultralytics.distill.heads.common import head_strides
from ultralytics.distill.heads.predictions import branches
from ultralytics.distill.terms.criterion import watch_criterion
from ultralytics.distill.upstream import for_profile

if TYPE_CHECKING:
    from ultralytics.distill.training.step import Step
    from ultralytics.engine.trainer import BaseTrainer


def count_in_auto_batch(trainer: BaseTrainer) -> None:
    """Let the trainer's `auto_batch` weigh whole distilled steps; before 8.3.50 it has none that could."""
    if not hasattr(trainer, "auto_batch"):
        return
    weigh = trainer.auto_batch

    def auto_batch(*args: Any, **kwargs: Any) -> int:
        model, trainer.model = trainer.model, trainer.distill.step.student  # a compiled one shows no layer to a hook
        try:
            with probing_memory(trainer.distill.step):
                return weigh(*args, **kwargs)
        finally:
            trainer.model = model

    trainer.auto_batch = auto_batch


@contextmanager
def probing_memory(step: Step) -> Iterator[None]:
    """Let each forward of the student, or of a copy of it, on images in train mode be a step without labels.

    Inside the block such a forward returns the student's output, an online teacher's output and the terms, all with
    their graphs.
    """
    opened: list[tuple[ExitStack, Capture]] = []

    def before(student: nn.Module, args: tuple) -> None:
        stack, distiller = ExitStack(), step.distiller
        opened.append((stack, stack.enter_context(capture(student, distiller.layers[0], distiller.needs_features))))

    def after(student: nn.Module, args: tuple, output: Any) -> Any:
        stack, seen = opened.pop()
        stack.close()
        return for_profile(_run_step(step, student, args[0], seen, output)) if student.training else output

    handles = [step.student.register_forward_pre_hook(before), step.student.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _run_step(
    step: Step, student: nn.Module, images: torch.Tensor, seen: Capture, output: Any
) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """Run teacher and terms on images (N, C, H, W), 0 to 1, that the student has seen; each holds one object."""
    distiller = step.distiller
    if step.online:
        shown, learning = step.teacher.watch(images)
    else:
        shown, learning = step.teacher(distiller.prepare(images)), None
    targets = _no_targets(student, seen) if distiller.needs_targets else {}
    batch = _one_object_each(images)
    if distiller.needs_criterion:
        with watch_criterion(student) as seen.criterion:
            student.loss(batch, output)
    columns = distiller(seen, shown, batch, targets)[0]
    return output, learning, columns


def _one_object_each(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return a batch with one box in the middle of each image."""
    count = len(images)
    return {
        "img": images,
        "cls": images.new_zeros(count, 1),
        "bboxes": images.new_full((count, 4), 0.5),
        "batch_idx": torch.arange(count, device=images.device, dtype=images.dtype),
    }


def _no_targets(student: nn.Module, seen: Capture) -> dict[str, dict[str, torch.Tensor]]:
    """Return, for each branch, targets as the assigner gives them where there is no object."""
    found = branches(seen.output, head_strides(student))
    scores = {k: v["scores"].detach() for k, v in found.items()}
    return {k: {"target_scores": s * 0, "fg_mask": s.new_zeros(len(s), s.shape[2]).bool()} for k, s in scores.items()}
