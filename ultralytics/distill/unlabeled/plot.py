# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Draws the first unlabelled batch, with what the teacher is sure of drawn in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ultralytics.distill.answers.dataset import read_batch
from ultralytics.distill.answers.final import final_boxes, is_detector
from ultralytics.distill.answers.recorded import Recorded
from ultralytics.distill.boxes import Boxes
from ultralytics.distill.heads.classes import Classes
from ultralytics.distill.heads.common import head_strides
from ultralytics.distill.heads.predictions import branches
from ultralytics.distill.runtime.errors import reason
from ultralytics.distill.upstream import plot_images
from ultralytics.utils import LOGGER, RANK

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

FILE = "train_unlabeled_batch0.jpg"
SURE = 0.25  # confidence from which a box is drawn, as in upstream's pictures


def draw_batch(trainer: BaseTrainer, more: dict[str, Any]) -> None:
    """Draw a batch of unlabelled images beside upstream's pictures, where these are wanted."""
    if not trainer.args.plots or RANK not in {-1, 0}:
        return
    try:
        module = trainer.distill.sources[0].module
        module = trainer.ema.ema if module is None else module
        if isinstance(module, Recorded):
            module = trainer.distill.step.student
            found = drawn(read_batch(more, len(more["img"]), len(module.names), SURE, more["img"].device))
        else:
            found = {} if trainer.distill.step.online else read_output(module, _look(trainer.distill.step, more["img"]))
    except Exception as e:  # a picture must not stop a training
        LOGGER.warning(f"Distillation: {FILE} shows no prediction of the teacher: {reason(e)}")
        found = {}
    names = module.names if found else None
    images = more["img"].detach().clone()  # which are scaled in place
    plot_images(found, images, more.get("im_file"), trainer.save_dir / FILE, names, trainer.on_plot)


def _look(step: Any, images: torch.Tensor) -> Any:
    """Return the raw output of the first teacher's head."""
    shown = step.teacher(step.distiller.prepare(images))
    return (shown[0] if isinstance(shown, list) else shown).output


def drawn(found: Boxes) -> dict[str, torch.Tensor]:
    """Return boxes as upstream draws them."""
    return {"batch_idx": found.image, "cls": found.cls, "conf": found.best, "bboxes": found.boxes}


@torch.no_grad()
def read_output(teacher: Any, output: Any) -> dict[str, torch.Tensor]:
    """Return what a head's raw output says as upstream draws it: boxes, a class, class maps or depth.

    Returns:
        (dict): `batch_idx`, `cls`, `conf` (M,) and `bboxes` (M, 4), or (M, 5) with an angle, xywh in units of the
            image; or `cls`; or `semantic_mask` or `depth` (N, H, W). Empty for any other output, and where the
            teacher's graph is cut before its head.
    """
    if output is not None and is_detector(teacher.model[-1]):
        own = list(teacher.names)
        found = final_boxes(output, head_strides(teacher), Classes(own, own), max(own) + 1, SURE)
        return drawn(found)
    branch = branches(output, []).get("one2many", {})
    if "depth" in branch:
        return {"depth": branch["depth"][:, 0].float()}
    scores = branch.get("scores")
    if scores is None:
        return {}
    if scores.ndim == 4:
        return {"semantic_mask": scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] > 0).long()}
    return {"cls": scores.argmax(1), "batch_idx": torch.arange(len(scores))}
