# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Reads a teacher's final boxes, with a score for each class, out of what its head returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torchvision.ops import batched_nms

from ultralytics.distill.answers.foreign import Detections, is_detections, read_detections
from ultralytics.distill.boxes import Boxes, corners
from ultralytics.distill.heads.classes import Classes
from ultralytics.distill.heads.predictions import branches
from ultralytics.distill.losses.response import anchor_points, decode, distances

MOST = 1000  # boxes of an image that may stand, those with the highest scores
NMS = 0.7  # overlap of two boxes of one class from which the less sure falls, as in upstream's predictions


def is_detector(head: nn.Module) -> bool:
    """Whether final boxes can be read out of what a head returns."""
    anchors = hasattr(head, "cv2") and hasattr(head, "reg_max")
    return anchors or hasattr(head, "dec_score_head") or isinstance(head, Detections)


def final_boxes(output: Any, strides: Sequence[float], classes: Classes, count: int, conf: float) -> Boxes:
    """Return the boxes that a teacher is sure of.

    Boxes of an anchor-based head go through non-maximum suppression, class by class. An end-to-end head's one-to-many
    branch is read, as upstream validates it. RT-DETR's queries are final as they are.

    Args:
        output (Any): What the head returned, as `Capture.output` holds it.
        strides (Sequence[float]): Pixels a cell of each level of the head.
        classes (Classes): Which of its classes are which of the student's.
        count (int): Classes of the student.
        conf (float): Score from which a box stands.

    Returns:
        (Boxes): The boxes, without a graph.
    """
    if is_detections(output):
        return read_detections(output, classes, count, conf)
    found = branches(output, strides)
    if found:
        branch = found.get("one2many") or found["one2one"]
        boxes, scores = shares(branch), branch["scores"].detach().float().sigmoid().transpose(1, 2)
    else:  # (dec_bboxes, dec_scores, ...) of RT-DETR, layer by layer; in eval mode behind the finished predictions
        raw = output[-1] if len(output) == 2 else output
        boxes, scores = raw[0][-1].detach().float(), raw[1][-1].detach().float().sigmoid()
    scores = student_scores(scores, classes, count)
    best, cls = scores.max(2)
    top, index = best.topk(min(MOST, best.shape[1]), dim=1)
    image, place = (top >= conf).nonzero(as_tuple=True)
    at = image, index[image, place]
    objects = Boxes(image, boxes[at], cls[at], scores[at])
    if not found:
        return objects
    keep = batched_nms(corners(objects.boxes), best[at], objects.cls + image * count, NMS)
    return objects[keep.sort().values]


def shares(branch: dict[str, Any]) -> torch.Tensor:
    """Return the boxes (N, A, 4) of a head's branch, centre, width and height as shares of the image."""
    boxes = branch["boxes"].detach().float()
    points, strides, (height, width) = anchor_points(branch["shapes"], branch["strides"], boxes)
    return decode(distances(boxes), points, strides) / boxes.new_tensor([width, height, width, height])


def student_scores(scores: torch.Tensor, classes: Classes, count: int) -> torch.Tensor:
    """Return a teacher's scores (..., classes) as scores of the student's classes, 0 for those it does not know."""
    known = scores[..., classes.teacher]
    if classes.merge:
        return known.amax(-1, keepdim=True)
    out = scores.new_zeros(*scores.shape[:-1], count)
    out[..., classes.student] = known
    return out
