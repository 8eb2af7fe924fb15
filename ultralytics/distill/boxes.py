# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The objects of a batch, as a detector names them or as they are labelled, and how the two are joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torchvision.ops import batched_nms

from ultralytics.distill.upstream import rotated_nms
from ultralytics.utils.metrics import batch_probiou
from ultralytics.utils.ops import xywh2xyxy

SAME = 0.5  # overlap from which an answer and a label may mean one object


@dataclass
class Boxes:
    """The objects of a batch, in the order of its images.

    Attributes:
        image (torch.Tensor): Which image of the batch each object is in (n,), not falling.
        boxes (torch.Tensor): x and y of the centre, width and height (n, 4), each a share of the image's own; of
            rotated boxes with the angle in radians (n, 5).
        cls (torch.Tensor): The class of each (n,), an index.
        scores (torch.Tensor): A score for each class, 0 to 1 (n, classes).
        more (dict[str, torch.Tensor]): What else is known of each: `masks` (n, H, W), above 0 where the object is, or
            `keypoints` (n, K, 3), x and y as shares of the image's sides, visible where the third is 0.5 or more.
    """

    image: torch.Tensor
    boxes: torch.Tensor
    cls: torch.Tensor
    scores: torch.Tensor
    more: dict[str, torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.image)

    def __getitem__(self, index: torch.Tensor) -> Boxes:
        """Return some of the objects."""
        return self.each(lambda x: x[index])

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Boxes:
        """Return the objects with every tensor changed in the same way."""
        more = {k: change(v) for k, v in self.more.items()}
        return Boxes(change(self.image), change(self.boxes), change(self.cls), change(self.scores), more)

    @property
    def best(self) -> torch.Tensor:
        """Return the largest score of each object (n,)."""
        return self.scores.amax(1)

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


def join(first: Boxes, second: Boxes) -> Boxes:
    """Return the objects of both, image by image; of an image those of the first stand in front."""
    names = ("image", "boxes", "cls", "scores")
    image, boxes, cls, scores = (torch.cat([getattr(first, k), getattr(second, k)]) for k in names)
    more = {k: torch.cat([v, second.more[k]]) for k, v in first.more.items()}
    return Boxes(image, boxes, cls, scores, more)[image.argsort(stable=True)]


def merge(labels: Boxes, answers: Boxes, images: int, alpha: float = 1.0, size: Sequence[float] = (1, 1)) -> Boxes:
    """Join labels and answers so that each object stands once.

    An answer and a label of one class that overlap most with each other, and at least by half, are one object: it has
    the answer's box and scores, or a mix of both. Masks, keypoints and rotated boxes do not mix: they are those of the
    answer where its share is half or more, else of the label. Any other answer that overlaps a label so much repeats it
    or contradicts it, and is left out. A label that no answer meets stands as it is, so that no object is taught as
    background, and an answer where nothing is labelled stands with its own scores.

    Args:
        labels (Boxes): What is labelled.
        answers (Boxes): What the teacher says.
        images (int): Images of the batch.
        alpha (float): Share of the answer where both mean one object, and weight of an answer without a label.
        size (Sequence[float]): Height and width of the images in pixels, which rotated boxes are measured in.
    """
    if not alpha or not len(answers):
        return labels
    if not len(labels):
        return replace(answers, scores=alpha * answers.scores)
    classes = [x.padded(x.cls + 1, images) for x in (labels, answers)]  # 0 where an image has fewer
    overlap = overlaps(labels.padded(labels.boxes, images), answers.padded(answers.boxes, images), size)  # (N, L, M)
    alike = overlap * (classes[0][:, :, None] == classes[1][:, None])
    value, index = alike.max(2)  # of each label the answer of its class that fits best (N, L)
    back = alike.argmax(1).gather(1, index)  # and of that answer the label
    paired = (value >= SAME) & (back == torch.arange(back.shape[1], device=back.device))
    at = labels.image, labels.slots()
    paired, index = paired[at], index[at]  # (n,)
    kept = (overlap.amax(1) < SAME)[answers.image, answers.slots()]
    starts = torch.bincount(answers.image, minlength=images).cumsum(0)
    rows = (torch.cat([starts.new_zeros(1), starts])[labels.image] + index)[paired]
    told = replace(labels, boxes=labels.boxes.clone(), scores=labels.scores.clone())
    mixed = alpha if labels.boxes.shape[1] == 4 else float(alpha >= 0.5)
    told.boxes[paired] = torch.lerp(labels.boxes[paired], answers.boxes[rows], mixed)
    told.scores[paired] = torch.lerp(labels.scores[paired], answers.scores[rows], alpha)
    if alpha >= 0.5:
        told.more = {k: v.index_put((paired,), answers.more[k][rows]) for k, v in labels.more.items()}
    alone = answers[kept]
    return join(told, replace(alone, scores=alpha * alone.scores))


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """Return x1, y1, x2, y2 (..., 4) of boxes given as centre, width and height, without their angle."""
    return xywh2xyxy(boxes[..., :4])


def pixels(boxes: torch.Tensor, size: Sequence[float]) -> torch.Tensor:
    """Return boxes (..., 4 or 5), given as shares of the sides of images of a size (H, W), in pixels."""
    scale = boxes.new_ones(boxes.shape[-1])
    scale[:4] = boxes.new_tensor([size[1], size[0]] * 2)
    return boxes * scale


def overlaps(a: torch.Tensor, b: torch.Tensor, size: Sequence[float] = (1, 1)) -> torch.Tensor:
    """Return the overlap (N, L, M), 0 to 1, of each two boxes (N, L, 4) and (N, M, 4) of an image of a size (H, W).

    That of rotated ones (N, L, 5) and (N, M, 5) is the overlap of Gaussians, as upstream's.
    """
    if a.shape[2] == 5:
        return torch.stack([batch_probiou(x, y) for x, y in zip(pixels(a, size), pixels(b, size))])
    a, b = corners(a)[:, :, None], corners(b)[:, None]
    inter = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    areas = [(x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b)]
    return inter / (areas[0] + areas[1] - inter).clamp(min=1e-9)


def suppress(objects: Boxes, iou: float, size: Sequence[float] = (1, 1)) -> torch.Tensor:
    """Return which objects (k,) stay by non-maximum suppression, class by class, in their order.

    Of two boxes of one class that overlap by `iou` in images of a size (H, W) in pixels the less sure falls.
    """
    group = objects.cls + objects.image * objects.scores.shape[1]
    if objects.boxes.shape[1] == 4:
        return batched_nms(corners(objects.boxes), objects.best, group, iou).sort().values
    kept = [group.new_zeros(0)]
    for i in group.unique():
        rows = (group == i).nonzero().view(-1)
        kept.append(rows[rotated_nms(pixels(objects.boxes[rows], size), objects.best[rows], iou)])
    return torch.cat(kept).sort().values
