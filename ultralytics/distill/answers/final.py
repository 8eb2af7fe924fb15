# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Reads a teacher's final boxes, with a score for each class, out of what its head returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ultralytics.distill.answers.dataset import KEYS, read_batch
from ultralytics.distill.answers.extra import Extra
from ultralytics.distill.answers.foreign import Detections, is_detections, read_detections
from ultralytics.distill.answers.recorded import Recorded
from ultralytics.distill.boxes import Boxes, corners, pixels, suppress
from ultralytics.distill.graph import Capture
from ultralytics.distill.heads.classes import Classes
from ultralytics.distill.heads.common import head_strides
from ultralytics.distill.heads.predictions import branches
from ultralytics.distill.losses.response import anchor_points, decode, distances
from ultralytics.utils.ops import crop_mask

MOST = 1000  # boxes of an image that may stand, those with the highest scores
NMS = 0.7  # overlap of two boxes of one class from which the less sure falls, as in upstream's predictions


def is_detector(head: nn.Module) -> bool:
    """Whether final boxes can be read out of what a head returns."""
    anchors = hasattr(head, "cv2") and hasattr(head, "reg_max")
    return anchors or hasattr(head, "dec_score_head") or isinstance(head, Detections)


def is_final(model: nn.Module) -> bool:
    """Whether a model has final boxes and no others: a file, RT-DETR, another library's detector."""
    return isinstance(model, Recorded) or (is_detector(model.model[-1]) and not hasattr(model.model[-1], "cv2"))


def is_stretched(model: nn.Module) -> bool:
    """Whether upstream stretches a model's images to the square, as RT-DETR's, in place of letterboxing them."""
    return hasattr(model.model[-1], "dec_score_head")


class FinalBoxes(nn.Module):
    """Reads what a teacher finally says of a batch, as a model that ran or as a file.

    Attributes:
        recorded (bool): Whether the teacher is a file, whose answers are in the batch.

    Args:
        classes (Classes): Which of its classes are which of the student's.
        count (int): Classes of the student.
        conf (float): Score from which a box counts.
        teacher (nn.Module): The teacher, unwrapped.
        extra (Extra, optional): What else is wanted of each box.
    """

    def __init__(self, classes: Classes, count: int, conf: float, teacher: nn.Module, extra: Extra | None = None):
        """Keep what is wanted."""
        super().__init__()
        self.classes, self.count, self.conf, self.extra = classes, count, conf, extra or Extra()
        self.strides, self.recorded = head_strides(teacher), isinstance(teacher, Recorded)

    def forward(self, teacher: Capture, batch: dict[str, Any]) -> Boxes:
        """Return the boxes."""
        if not self.recorded:
            return final_boxes(teacher.output, self.strides, self.classes, self.count, self.conf, self.extra)
        count, other = len(batch["img"]), batch.get("unlabeled", {})
        labelled = batch.get("labeled", count)
        told = {k: [*batch.get(k, ())[:labelled], *other.get(k, ())[: count - labelled]] for k in KEYS}
        return read_batch(told, count, self.count, self.conf, batch["img"].device)


def final_boxes(
    output: Any, strides: Sequence[float], classes: Classes, count: int, conf: float, extra: Extra | None = None
) -> Boxes:
    """Return the boxes that a teacher is sure of.

    Boxes of an anchor-based head go through non-maximum suppression, class by class. An end-to-end head's one-to-many
    branch is read, as upstream validates it. RT-DETR's queries are final as they are.

    Args:
        output (Any): What the head returned, as `Capture.output` holds it.
        strides (Sequence[float]): Pixels a cell of each level of the head.
        classes (Classes): Which of its classes are which of the student's.
        count (int): Classes of the student.
        conf (float): Score from which a box stands.
        extra (Extra, optional): What else is wanted of each box. A box whose mask is empty falls, as in upstream's
            predictions.
    """
    if is_detections(output):
        return read_detections(output, classes, count, conf, extra.name if extra else "")
    found = branches(output, strides)
    if found:
        branch = found.get("one2many") or found["one2one"]
        size = [x * branch["strides"][0] for x in branch["shapes"][0]]
        boxes, scores = shares(branch), branch["scores"].detach().float().sigmoid().transpose(1, 2)
    else:  # (dec_bboxes, dec_scores, ...) of RT-DETR, layer by layer; in eval mode behind the finished predictions
        raw = output[-1] if len(output) == 2 else output
        boxes, scores = raw[0][-1].detach().float(), raw[1][-1].detach().float().sigmoid()
    scores = student_scores(scores, classes, count)
    best, cls = scores.max(2)
    top, index = best.topk(min(MOST, best.shape[1]), dim=1)
    image, place = (top >= conf).nonzero(as_tuple=True)
    anchor = index[image, place]
    at = image, anchor
    objects = Boxes(image, boxes[at], cls[at], scores[at])
    if not found:
        return objects
    keep = suppress(objects, NMS, size)
    objects, anchor = objects[keep], anchor[keep]
    if extra and extra.name == "keypoints":
        objects.more["keypoints"] = keypoints_at(extra.read(branch), objects.image, anchor)
    if extra and extra.name == "masks":
        objects.more["masks"] = masks_at(branch, objects, anchor)
        objects = objects[(objects.more["masks"] > 0).flatten(1).any(1)]
    return objects


def shares(branch: dict[str, Any]) -> torch.Tensor:
    """Return the boxes (N, A, 4) of a head's branch, centre, width and height as shares of the image.

    Rotated ones have their angle too (N, A, 5).
    """
    boxes = branch["boxes"].detach().float()
    points, strides, size = anchor_points(branch["shapes"], branch["strides"], boxes)
    angle = branch["angle"].detach().float() if "angle" in branch else None
    return decode(distances(boxes), points, strides, angle) / pixels(boxes.new_ones(4 + ("angle" in branch)), size)


def keypoints_at(branch: dict[str, Any], image: torch.Tensor, anchor: torch.Tensor) -> torch.Tensor:
    """Return the keypoints (n, K, 3) of some anchors of a branch, as shares of the image, and their visibility."""
    found = branch["keypoints"].detach()[image, :, :, anchor]  # (n, K, D), in cells from the anchor's point
    points, strides, (height, width) = anchor_points(branch["shapes"], branch["strides"], found)
    xy = (found[..., :2] * strides[anchor][:, None, None] + points.T[anchor][:, None]) / found.new_tensor(
        [width, height]
    )
    seen = found[..., 2:].sigmoid() if found.shape[2] == 3 else torch.ones_like(found[..., :1])
    return torch.cat([xy, seen], 2)


def masks_at(branch: dict[str, Any], objects: Boxes, anchor: torch.Tensor) -> torch.Tensor:
    """Return the masks (n, H, W) of some anchors of a branch in the size of its prototypes, each inside of its box."""
    proto = branch["proto"].detach().float()
    rows = branch["mask_coefficient"].detach().float()[objects.image, :, anchor]  # (n, M)
    parts = rows.split(torch.bincount(objects.image, minlength=len(proto)).tolist())
    masks = torch.cat([torch.einsum("nm,mhw->nhw", c, p) for c, p in zip(parts, proto)])
    return crop_mask(masks, corners(pixels(objects.boxes, (masks.shape[1], masks.shape[2]))))


def student_scores(scores: torch.Tensor, classes: Classes, count: int) -> torch.Tensor:
    """Return a teacher's scores (..., classes) as scores of the student's classes, 0 for those it does not know."""
    known = scores[..., classes.teacher]
    if classes.merge:
        return known.amax(-1, keepdim=True)
    out = scores.new_zeros(*scores.shape[:-1], count)
    out[..., classes.student] = known
    return out
