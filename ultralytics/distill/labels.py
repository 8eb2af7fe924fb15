# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Reads the objects of a batch out of its labels, and writes objects as labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from ultralytics.distill.boxes import Boxes


def read_labels(batch: dict[str, Any], count: int, more: Sequence[str] = (), overlap: bool = True) -> Boxes:
    """Return the labels of upstream's batch, each with score 1 for its class and 0 for the others of `count`.

    `more` is what else is wanted of them, `masks` or `keypoints`. With `overlap` an image's masks stand in one map.
    """
    image, cls = batch["batch_idx"].view(-1).long(), batch["cls"].view(-1).long()
    found = Boxes(image, batch["bboxes"].float(), cls, F.one_hot(cls, count).float())
    if "keypoints" in more:
        points = batch["keypoints"].float()
        visible = (points[..., 2:] != 0).float() if points.shape[-1] == 3 else torch.ones_like(points[..., :1])
        found.more["keypoints"] = torch.cat([points[..., :2], visible], -1)
    order = image.argsort(stable=True)
    found = found[order]
    if "masks" in more:
        masks = batch["masks"]
        own = masks[found.image] == (found.slots() + 1)[:, None, None] if overlap else masks[order] > 0
        found.more["masks"] = own.float() - 0.5
    return found


def sized(objects: Boxes, size: Sequence[int]) -> Boxes:
    """Return objects whose masks have a size (H, W)."""
    masks = objects.more.get("masks")
    if masks is None or tuple(masks.shape[1:]) == tuple(size):
        return objects
    resized = masks.new_zeros(0, *size)
    if len(masks):
        resized = F.interpolate(masks[:, None], list(size), mode="bilinear", align_corners=False)[:, 0]
    return replace(objects, more={**objects.more, "masks": resized})


def write_labels(objects: Boxes, images: int, classes_of_pixels: bool) -> dict[str, torch.Tensor]:
    """Return objects as upstream's batch has labels; masks (n, H, W) one by one, since those of answers may overlap.

    With `classes_of_pixels` it has `sem_masks` (images, H, W) too, the class of the smallest object there.
    """
    batch = {"batch_idx": objects.image.float(), "cls": objects.cls[:, None].float(), "bboxes": objects.boxes}
    for name, x in objects.more.items():
        if name == "keypoints":
            batch[name] = torch.cat([x[..., :2], (x[..., 2:] >= 0.5).to(x)], -1)
            continue
        inside = x > 0
        batch[name] = inside.float()
        if classes_of_pixels:
            batch["sem_masks"] = x.new_zeros(images, *x.shape[1:])
            for i in inside.sum((1, 2)).argsort(descending=True).tolist():
                batch["sem_masks"][objects.image[i]].masked_fill_(inside[i], float(objects.cls[i]))
    return batch
