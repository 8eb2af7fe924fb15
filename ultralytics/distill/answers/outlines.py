# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a file has beside boxes: polygons of masks, corners and keypoints, in shares of the image itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ultralytics.distill.boxes import Boxes, pixels
from ultralytics.utils.ops import masks2segments, xywhr2xyxyxyxy

TOLERANCE = 1.0  # pixels of the letterboxed image by which a polygon may leave its mask's outline
AT_ONCE = 32  # masks that are enlarged together


def placement(size: tuple[int, int], shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where an image of a shape (H, W) lies, letterboxed to a size: its width and height, and its corner."""
    gain = min(a / b for a, b in zip(size, shape))
    padding = [round((a - round(b * gain)) / 2 - 0.1) for a, b in zip(size, shape)]  # as upstream's LetterBox rounds it
    return gain * torch.tensor(shape[::-1], dtype=torch.float32), torch.tensor(padding[::-1], dtype=torch.float32)


def unpadded(points: torch.Tensor, size: tuple[int, int], shape: tuple[int, int]) -> torch.Tensor:
    """Return points (..., 2) in pixels of a letterboxed image of a size (H, W) as shares of the image's own shape."""
    sides, corner = (x.to(points) for x in placement(size, shape))
    return (points - corner) / sides


def padded(found: Boxes, size: tuple[int, int], shapes: Sequence[tuple[int, int]]) -> Boxes:
    """Return objects with boxes (n, 4) in shares of images of some shapes with shares of them letterboxed to a size."""
    whole = found.boxes.new_tensor(size[::-1])
    sides, corner = (torch.stack(x).to(whole)[found.image] / whole for x in zip(*(placement(size, s) for s in shapes)))
    return replace(found, boxes=torch.cat([found.boxes[:, :2] * sides + corner, found.boxes[:, 2:] * sides], 1))


def beside(found: Boxes, size: tuple[int, int], shape: tuple[int, int]) -> dict[str, list[torch.Tensor]]:
    """Return what is written beside boxes, for each of them a tensor of points as shares of the image's own sides.

    Returns:
        (dict[str, list]): `segments` (points, 2) of masks, none for one without three points, or the corners (4, 2) of
            rotated boxes; `keypoints` (K, 3) with their visibility; nothing for boxes alone.
    """
    if found.boxes.shape[1] == 5:
        return {"segments": list(unpadded(xywhr2xyxyxyxy(pixels(found.boxes.cpu(), size)), size, shape))}
    if "masks" in found.more:
        return {"segments": [unpadded(x, size, shape).clamp(0, 1) for x in polygons(found.more["masks"], size)]}
    if "keypoints" in found.more:
        points = found.more["keypoints"].cpu()
        xy = unpadded(points[..., :2] * torch.tensor([size[1], size[0]]), size, shape)
        return {"keypoints": list(torch.cat([xy, points[..., 2:]], 2))}
    return {}


def polygons(masks: torch.Tensor, size: tuple[int, int]) -> Iterator[torch.Tensor]:
    """Yield the outline (points, 2), in pixels, of each mask; none (0, 2) for one that has no three points.

    Several parts of a mask are joined to one polygon, as upstream's labels have it. Masks (n, H, W) are above 0 where
    the object is, and are enlarged to the image's size.
    """
    for some in masks.split(AT_ONCE):
        large = F.interpolate(some[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0]
        for outline in masks2segments((large > 0).cpu()):
            if len(outline):
                outline = cv2.approxPolyDP(outline.astype(np.int32), TOLERANCE, True).reshape(-1, 2)
            yield torch.from_numpy(outline.astype(np.float32)) if len(outline) > 2 else torch.zeros(0, 2)
