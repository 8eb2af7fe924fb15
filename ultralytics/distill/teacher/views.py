# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What teachers say of images at several sizes and mirrored, and how it becomes one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ultralytics.distill.answers.extra import Extra, extra_of
from ultralytics.distill.answers.final import NMS, final_boxes, is_stretched
from ultralytics.distill.boxes import Boxes, join, overlaps, suppress
from ultralytics.distill.heads.classes import class_map
from ultralytics.distill.heads.common import head_strides
from ultralytics.distill.inference import input_channels
from ultralytics.distill.labels import sized
from ultralytics.distill.teacher.frozen import Teacher
from ultralytics.distill.teacher.preprocessing import Preprocessing
from ultralytics.distill.teacher.source import Source

MASK_RATIO = 4  # pixels a cell of the masks until they are polygons, as of upstream's prototypes


class TeacherPredictor:
    """A teacher that says of images what it sees at one or several sizes, and in their mirror images.

    Attributes:
        stretched (bool): Whether its images are stretched to the square, not letterboxed.

    Args:
        source (Source): The teacher.
        names (dict[int, str]): The classes of the file.
        extra (str): What the file has beside boxes: `masks`, `keypoints`, `angles` or nothing.
        sizes (Sequence[int]): Longer sides of the images that it sees, in pixels.
        flip (Sequence[int] | bool): Whether it sees each image mirrored too; for keypoints which of them is which
            there, upstream's `flip_idx`.
        conf (float): Score from which a box stands.
        device (torch.device): Where it runs.
        given (int): Channels of the images.
    """

    def __init__(
        self,
        source: Source,
        names: dict[int, str],
        extra: str,
        sizes: Sequence[int],
        flip: Sequence[int] | bool,
        conf: float,
        device: torch.device,
        given: int = 3,
    ):
        """Build the teacher, frozen and fused."""
        self.classes, self.count = class_map(names, source.module.names), len(names)
        self.stretched = is_stretched(source.module)
        known = extra_of(source.module)
        self.extra = known if known.name == extra else Extra()
        self.flips, self.conf, self.strides = (False, flip) if flip else (False,), conf, head_strides(source.module)
        channels, multiple = input_channels(source.module), int(max(source.module.stride))
        self.views = [Preprocessing(given, channels, size, multiple) for size in sizes]
        self.teacher = Teacher(source, [], True, False, device, torch.float32)  # what is written stays

    def __call__(self, images: torch.Tensor) -> list[Boxes]:
        """Return what it says of images (N, C, H, W), 0 to 1, in each view."""
        found = []
        for view in self.views:
            for flip in self.flips:
                seen = view(images).flip(3) if flip else view(images)
                output = self.teacher(seen).output
                boxes = final_boxes(output, self.strides, self.classes, self.count, self.conf, self.extra)
                boxes = sized(boxes, (images.shape[2] // MASK_RATIO, images.shape[3] // MASK_RATIO))
                found.append(mirrored(boxes, flip) if flip else boxes)
        return found


def mirrored(objects: Boxes, flip: Sequence[int] | bool) -> Boxes:
    """Return objects as they are in the mirror image; `flip` says of keypoints which of them is which there."""
    boxes, more = objects.boxes.clone(), dict(objects.more)
    boxes[:, 0] = 1 - boxes[:, 0]
    boxes[:, 4:] *= -1
    if "masks" in more:
        more["masks"] = more["masks"].flip(2)
    if "keypoints" in more and not isinstance(flip, bool):
        points = more["keypoints"][:, list(flip)]
        more["keypoints"] = torch.cat([1 - points[..., :1], points[..., 1:]], 2)
    return replace(objects, boxes=boxes, more=more)


def merge_views(views: Sequence[Boxes], images: int, conf: float, size: tuple[int, int] = (1, 1)) -> Boxes:
    """Return one answer out of several: boxes by non-maximum suppression, scores as the mean over all views.

    A view in which nothing overlaps a box by half counts with score 0 for it. Masks and keypoints are not merged: they
    are those of the box that stays, the surest. A box stands from a mean score of `conf` on; the size (H, W) of the
    images is in pixels.
    """
    if len(views) == 1:
        return views[0]
    every = views[0]
    for view in views[1:]:
        every = join(every, view)
    kept = every[suppress(every, NMS, size)]
    if not len(kept):
        return kept
    mean = torch.zeros_like(kept.scores)
    for view in (v for v in views if len(v)):
        overlap = overlaps(kept.padded(kept.boxes, images), view.padded(view.boxes, images), size)
        same = kept.padded(kept.cls + 1, images)[:, :, None] == view.padded(view.cls + 1, images)[:, None]
        value, index = (overlap * same).max(2)
        at = kept.image, kept.slots()
        mean += view.padded(view.scores, images)[kept.image, index[at]] * (value[at] >= 0.5)[:, None] / len(views)
    return replace(kept, scores=mean)[mean.amax(1) >= conf]
