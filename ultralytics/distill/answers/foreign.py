# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Detectors of other libraries: whatever takes images and returns boxes, scores and labels, as torchvision's do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ultralytics.distill.boxes import Boxes
from ultralytics.distill.heads.classes import Classes

WANTED = ("boxes", "scores", "labels")
EXTRA = ("masks", "keypoints")  # what torchvision's Mask R-CNN and Keypoint R-CNN say beside them


class Called(nn.Module):
    """A function in the form of a module: it takes images (N, C, H, W), 0 to 1, and returns what a detector returns."""

    def __init__(self, function: Callable[[torch.Tensor], Any]):
        """Keep the function, and the class names that it may have."""
        super().__init__()
        self.function, self.names = function, getattr(function, "names", None)
        self.original_name = getattr(function, "__name__", type(function).__name__)

    def forward(self, x: torch.Tensor) -> Any:
        """Return what the function returns."""
        return self.function(x)


class Detector(nn.Module):
    """Runs a detector and puts the size of its images beside what it says of each."""

    def __init__(self, module: nn.Module):
        """Keep the module."""
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> list[dict[str, Any]]:
        """Return a dictionary for each image (N, C, H, W)."""
        return [{**found, "size": tuple(x.shape[2:])} for found in self.module(x)]


class Detections(nn.Module):
    """A head whose predictions are final boxes.

    Attributes:
        extra (str): What they have beside classes: `masks`, `keypoints` or nothing.
        points (int): Keypoints of an object.

    Args:
        found (Sequence[dict]): What the detector says of some images.
    """

    def __init__(self, found: Sequence[dict[str, Any]]):
        """See what a box has."""
        super().__init__()
        self.extra = next((k for k in EXTRA if all(isinstance(x.get(k), torch.Tensor) for x in found)), "")
        self.points = found[0]["keypoints"].shape[1] if self.extra == "keypoints" else 0

    def forward(self, x: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what the detector said."""
        return x


def is_detections(found: Any) -> bool:
    """Whether something is what torchvision's detectors return: for each image a dictionary of three tensors."""
    if not isinstance(found, (list, tuple)) or not found or not all(isinstance(x, dict) for x in found):
        return False
    return all(isinstance(x.get(k), torch.Tensor) for x in found for k in WANTED)


def class_names(module: nn.Module, name: str) -> dict[int, str]:
    """Return the names of a detector's labels, its `names`: a dictionary, or a list in the order of the labels.

    Raises:
        ValueError: If there are none, since a label's number alone says nothing: torchvision's begin at 1.
    """
    names = getattr(module, "names", None)
    if isinstance(names, (list, tuple)):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(isinstance(k, int) and k >= 0 for k in names):
        raise ValueError(
            f"'model_t' is a {name}, whose labels are numbers; say which classes they are by its attribute 'names', as "
            f"in model.names = {{1: 'cat', 2: 'dog'}}."
        )
    return {k: str(v) for k, v in names.items()}


def read_detections(
    found: Sequence[dict[str, Any]], classes: Classes, count: int, conf: float, extra: str = ""
) -> Boxes:
    """Return what a detector of another library says of a batch, as `final_boxes` does, without a graph.

    For each image it gave `boxes` (k, 4), corners in pixels, `scores` (k,), `labels` (k,) and its `size`; where `extra`
    asks also `masks` (k, 1, H, W) or (k, H, W), each pixel's probability, or `keypoints` (k, K, 3), x and y in pixels,
    visible where the third is 0.5 or more. A label that the student does not know and a mask without a pixel are left
    out.
    """
    image = torch.cat([x["labels"].new_full((len(x["labels"]),), i).long() for i, x in enumerate(found)])
    boxes, score, label = (torch.cat([x[k].detach() for x in found]) for k in WANTED)
    size = torch.cat([boxes.new_tensor([x["size"][::-1]]).expand(len(x["labels"]), 2) for x in found])
    first, last = boxes.float().view(-1, 2, 2).unbind(1)
    shares = torch.cat([(first + last) / 2 / size, (last - first) / size], 1)
    places = torch.full((max(classes.teacher) + 2,), -1, device=boxes.device)
    of = [0] * len(classes.teacher) if classes.merge else classes.student
    places[torch.tensor(classes.teacher, device=boxes.device)] = torch.tensor(of, device=boxes.device)
    cls = places[label.long().clamp(-1, len(places) - 1)]  # the last stands for those it does not know
    keep = (cls >= 0) & (score >= conf)
    scores = torch.zeros(len(cls), count, device=boxes.device)
    scores[torch.arange(len(cls), device=boxes.device), cls.clamp(min=0)] = score.float()
    objects = Boxes(image, shares, cls, scores)[keep]
    if extra == "keypoints":
        points = torch.cat([x[extra].detach() for x in found])[keep].float()
        seen = points[..., 2:] if points.shape[2] == 3 else torch.ones_like(points[..., :1])
        objects.more[extra] = torch.cat([points[..., :2] / size[keep][:, None], seen], 2)
    if extra == "masks":
        masks = torch.cat([x[extra].detach().flatten(0, -3) for x in found])[keep].float()
        objects.more[extra] = masks - 0.5
        objects = objects[(masks > 0.5).flatten(1).any(1)]
    return objects
