# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The objects of a batch, as a detector names them or as they are labelled, and how the two are joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F


@dataclass
class Boxes:
    """The objects of a batch, in the order of its images.

    Attributes:
        image (torch.Tensor): Which image of the batch each object is in (n,), not falling.
        boxes (torch.Tensor): x and y of the centre, width and height (n, 4), each a share of the image's own.
        cls (torch.Tensor): The class of each (n,), an index.
        scores (torch.Tensor): A score for each class, 0 to 1 (n, classes).
    """

    image: torch.Tensor
    boxes: torch.Tensor
    cls: torch.Tensor
    scores: torch.Tensor

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.image)

    def __getitem__(self, index: torch.Tensor) -> Boxes:
        """Return some of the objects."""
        return Boxes(*(x[index] for x in (self.image, self.boxes, self.cls, self.scores)))

    def slots(self) -> torch.Tensor:
        """Return the place of each object among those of its image (n,)."""
        counts = torch.bincount(self.image)
        return torch.arange(len(self), device=self.image.device) - (counts.cumsum(0) - counts)[self.image]

    def padded(self, x: torch.Tensor, images: int) -> torch.Tensor:
        """Return what each object has (n, ...) as (images, most objects of an image, ...), filled up with zeros."""
        slots = self.slots()
        out = x.new_zeros(images, int(slots.max()) + 1 if len(self) else 0, *x.shape[1:])
        out[self.image, slots] = x
        return out


def read_labels(batch: dict[str, Any], count: int) -> Boxes:
    """Return the labels of a batch.

    Args:
        batch (dict): Upstream's batch, with `batch_idx` (n,), `cls` (n, 1) and `bboxes` (n, 4).
        count (int): Classes.

    Returns:
        (Boxes): Each with score 1 for its class and 0 for the others.
    """
    image, cls = batch["batch_idx"].view(-1).long(), batch["cls"].view(-1).long()
    found = Boxes(image, batch["bboxes"].float(), cls, F.one_hot(cls, count).float())
    return found[image.argsort(stable=True)]


def join(first: Boxes, second: Boxes) -> Boxes:
    """Return the objects of both, image by image; of an image those of the first stand in front."""
    fields = ("image", "boxes", "cls", "scores")
    both = Boxes(*(torch.cat([getattr(x, k) for x in (first, second)]) for k in fields))
    return both[both.image.argsort(stable=True)]


def merge(labels: Boxes, answers: Boxes, images: int, alpha: float = 1.0, iou: float = 0.5) -> Boxes:
    """Join labels and answers so that each object stands once.

    An answer and a label of one class that overlap most with each other, and at least by `iou`, are one object: it has
    the answer's box and scores, or a mix of both. Any other answer that overlaps a label so much repeats it or
    contradicts it, and is left out. A label that no answer meets stands as it is, so that no object is taught as
    background, and an answer where nothing is labelled stands with its own scores.

    Args:
        labels (Boxes): What is labelled.
        answers (Boxes): What the teacher says.
        images (int): Images of the batch.
        alpha (float): Share of the answer where both mean one object, and weight of an answer without a label.
        iou (float): Overlap from which two boxes may mean one object.

    Returns:
        (Boxes): The objects.
    """
    if not alpha or not len(answers):
        return labels
    if not len(labels):
        return Boxes(answers.image, answers.boxes, answers.cls, alpha * answers.scores)
    boxes = [corners(x.padded(x.boxes, images)) for x in (labels, answers)]
    classes = [x.padded(x.cls + 1, images) for x in (labels, answers)]  # 0 where an image has fewer
    overlap = overlaps(*boxes)  # (N, L, M)
    alike = overlap * (classes[0][:, :, None] == classes[1][:, None])
    value, index = alike.max(2)  # of each label the answer of its class that fits best (N, L)
    back = alike.argmax(1).gather(1, index)  # and of that answer the label
    paired = (value >= iou) & (back == torch.arange(back.shape[1], device=back.device))
    at = labels.image, labels.slots()
    paired, index = paired[at], index[at]  # (n,)
    kept = (overlap.amax(1) < iou)[answers.image, answers.slots()]
    starts = torch.bincount(answers.image, minlength=images).cumsum(0)
    rows = (torch.cat([starts.new_zeros(1), starts])[labels.image] + index)[paired]
    told = Boxes(labels.image, labels.boxes.clone(), labels.cls, labels.scores.clone())
    told.boxes[paired] = torch.lerp(labels.boxes[paired], answers.boxes[rows], alpha)
    told.scores[paired] = torch.lerp(labels.scores[paired], answers.scores[rows], alpha)
    alone = answers[kept]
    return join(told, Boxes(alone.image, alone.boxes, alone.cls, alpha * alone.scores))


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """Return x1, y1, x2, y2 (..., 4) of boxes given as centre, width and height."""
    xy, wh = boxes[..., :2], boxes[..., 2:4] / 2
    return torch.cat([xy - wh, xy + wh], -1)


def overlaps(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the overlap (N, L, M), 0 to 1, of each two boxes of an image, given as corners (N, L, 4) and (N, M, 4)."""
    a, b = a[:, :, None], b[:, None]
    inter = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    areas = [(x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b)]
    return inter / (areas[0] + areas[1] - inter).clamp(min=1e-9)
