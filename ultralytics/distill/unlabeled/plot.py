# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Draws the first unlabelled batch, with what the teacher is sure of drawn in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torchvision.ops import batched_nms

from ultralytics.distill.heads.common import head_strides
from ultralytics.distill.heads.predictions import branches
from ultralytics.distill.losses.response import anchor_points, decode, distances
from ultralytics.distill.runtime.errors import reason
from ultralytics.distill.upstream import plot_images
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.ops import xywh2xyxy

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

FILE = "train_unlabeled_batch0.jpg"
SURE = 0.25  # confidence from which a box is drawn, as in upstream's pictures
OVERLAP = 0.7  # upstream's own for its predictions


def draw_batch(trainer: BaseTrainer, more: dict[str, Any]) -> None:
    """Draw a batch of unlabelled images beside upstream's pictures, where these are wanted."""
    if not trainer.args.plots or RANK not in {-1, 0}:
        return
    try:
        module = trainer.distill.sources[0].module
        module = trainer.ema.ema if module is None else module
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


@torch.no_grad()
def read_output(teacher: Any, output: Any) -> dict[str, torch.Tensor]:
    """Return what a head's raw output says as upstream draws it: boxes, a class, class maps or depth.

    Args:
        teacher (nn.Module): Whose it is.
        output (Any): What it returned in train mode; None where the teacher's graph is cut before its head.

    Returns:
        (dict): `batch_idx`, `cls`, `conf` (M,) and `bboxes` (M, 4), or (M, 5) with an angle, xywh in units of the
            image; or `cls`; or `semantic_mask` or `depth` (N, H, W). Empty for any other output.
    """
    found = branches(output, head_strides(teacher))
    branch = found.get("one2one", found.get("one2many", {}))
    if "depth" in branch:
        return {"depth": branch["depth"][:, 0].float()}
    scores = branch.get("scores")
    if scores is None:
        return {}
    if scores.ndim == 3:
        return _boxes(branch, nms="one2one" not in found)
    if scores.ndim == 4:
        return {"semantic_mask": scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] > 0).long()}
    return {"cls": scores.argmax(1), "batch_idx": torch.arange(len(scores))}


def _boxes(branch: dict[str, Any], nms: bool) -> dict[str, torch.Tensor]:
    """Return the boxes that a branch is sure of."""
    raw = branch["boxes"].float()
    points, strides, (height, width) = anchor_points(branch["shapes"], branch["strides"], raw)
    angle = branch["angle"].float() if "angle" in branch else None
    boxes = decode(distances(raw), points, strides, angle)  # (N, A, 4 or 5)
    conf, cls = branch["scores"].float().sigmoid().max(1)
    image, anchor = torch.nonzero(conf > SURE, as_tuple=True)
    boxes, conf, cls = boxes[image, anchor], conf[image, anchor], cls[image, anchor]
    if nms:  # of turned boxes by the upright ones of the same sides, which is enough for a picture
        keep = batched_nms(xywh2xyxy(boxes[:, :4]), conf, image, OVERLAP)
        image, boxes, conf, cls = image[keep], boxes[keep], conf[keep], cls[keep]
    boxes[:, :4] /= boxes.new_tensor([width, height, width, height])
    return {"batch_idx": image, "cls": cls, "conf": conf, "bboxes": boxes}
