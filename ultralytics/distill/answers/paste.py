# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Lets answers go with the labels that upstream's copy-paste puts into an image."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from ultralytics.data.augment import CopyPaste
from ultralytics.distill.boxes import SAME
from ultralytics.utils.instance import Instances
from ultralytics.utils.metrics import bbox_ioa

if TYPE_CHECKING:
    from ultralytics.distill.answers.dataset import DatasetAnswers


class Paste:
    """Shows upstream's copy-paste the labels alone, and pastes the answers that mean the objects it has pasted.

    So the same objects are pasted as without answers, none is pasted for an answer that no label meets, and each that
    is pasted has its labels and its answers.
    """

    def __init__(self, inner: CopyPaste, answers: DatasetAnswers):
        """Take the answers out of the images that it draws, too."""
        self.inner, self.answers = inner, answers
        self.drawn: dict[str, Any] | None = None
        if inner.pre_transform is not None:
            self.before, inner.pre_transform = inner.pre_transform, self.draw

    def draw(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Return the labels of an image whose objects may be pasted, and remember its answers."""
        labels, self.drawn = self.answers.split(self.before(labels))
        return labels

    def __call__(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Return the sample with what was pasted into it."""
        self.drawn = None
        labels, own = self.answers.split(labels)
        count = len(labels["instances"])
        labels = self.inner(labels)
        parts, known = [own], labels["instances"]
        if len(known) > count:
            source = self.drawn or mirrored(own, labels["img"].shape)
            alike(source["instances"], known, labels["img"].shape)
            overlap = bbox_ioa(known.bboxes[count:], source["instances"].bboxes, iou=True)
            rows = np.flatnonzero((overlap >= SAME).any(0))
            parts.append({"cls": source["cls"][rows], "instances": source["instances"][rows]})
        alike(own["instances"], known, labels["img"].shape)
        labels["cls"] = np.concatenate([x["cls"].reshape(-1, 1) for x in (labels, *parts)])
        labels["instances"] = Instances.concatenate([known, *(x["instances"] for x in parts)])
        return labels


def alike(instances: Instances, other: Instances, shape: Sequence[int]) -> None:
    """Bring objects into the form of others in an image of a shape (H, W, C), corners or not, pixels or shares."""
    instances.convert_bbox(other._bboxes.format)
    (instances.normalize if other.normalized else instances.denormalize)(shape[1], shape[0])


def mirrored(answers: dict[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """Return answers as they are in the mirror image of a shape (H, W, C), whose objects are pasted by default."""
    instances = deepcopy(answers["instances"])
    instances.denormalize(shape[1], shape[0])
    instances.fliplr(shape[1])
    return {"cls": answers["cls"], "instances": instances}


def paste_along(transforms: Any, answers: DatasetAnswers) -> None:
    """Let answers go with what copy-paste puts into images, wherever it stands among a set's augmentations."""
    steps = transforms.transforms
    for i, step in enumerate(steps):
        if isinstance(step, CopyPaste):
            steps[i] = Paste(step, answers)
        elif hasattr(step, "transforms") and isinstance(step.transforms, list):
            paste_along(step, answers)
