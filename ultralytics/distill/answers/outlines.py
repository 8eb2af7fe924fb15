# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Makes polygons of masks, and brings points of a letterboxed image into the image itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ultralytics.utils.ops import masks2segments, scale_boxes

TOLERANCE = 1.0  # pixels of the letterboxed image by which a polygon may leave its mask's outline
AT_ONCE = 32  # masks that are enlarged together


@dataclass
class Letterboxed:
    """An image in the middle of a larger one.

    Attributes:
        size (tuple[int, int]): Height and width of the letterboxed image in pixels.
        shape (tuple[int, int]): Height and width of the image itself.
    """

    size: tuple[int, int]
    shape: tuple[int, int]

    def shares(self, points: torch.Tensor) -> torch.Tensor:
        """Return points (..., 2), in pixels of the letterboxed image, as shares of the image's own sides."""
        flat = torch.cat([points.reshape(-1, 2), torch.zeros(points[..., 0].numel(), 2)], 1).float()
        height, width = self.shape
        flat = scale_boxes(self.size, flat, self.shape, xywh=True)[:, :2]  # without sides, so that nothing is clipped
        return (flat / torch.tensor([width, height])).reshape(points.shape)


def polygons(masks: torch.Tensor, size: tuple[int, int]) -> Iterator[torch.Tensor]:
    """Yield the outline (points, 2), in pixels, of each mask; none (0, 2) for one that has no three points.

    Several parts of a mask are joined to one polygon, as upstream's labels have it.

    Args:
        masks (torch.Tensor): Masks (n, H, W), above 0 where the object is.
        size (tuple[int, int]): Height and width of the image in pixels, to which they are enlarged.
    """
    for some in masks.split(AT_ONCE):
        large = F.interpolate(some[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0]
        for outline in masks2segments((large > 0).cpu()):
            simple = cv2.approxPolyDP(outline.astype(np.int32), TOLERANCE, True).reshape(-1, 2) if len(outline) else outline
            yield torch.from_numpy(simple.astype(np.float32)) if len(simple) > 2 else torch.zeros(0, 2)
