# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Lets answers travel with their images through a training set's augmentations, beside the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ultralytics.distill.answers.table import Table
from ultralytics.distill.boxes import Boxes
from ultralytics.utils.instance import Instances
from ultralytics.utils.ops import resample_segments

KEY = "answers"  # of a batch: for each image an array (k, 4 + classes), a box as shares of the image and its scores


class DatasetAnswers:
    """The answers for a data set's images, which join its labels where an image is loaded.

    In between they are labels of reserved classes, `classes + row`, so whatever moves, clips or drops labels does the
    same with them. Before images and labels become tensors they part again: neither the task loss nor any plot, count
    or weight of classes ever sees them, and `dataset.labels` is never touched.

    Args:
        dataset (Any): Upstream's training set; it is changed.
        table (Table): The answers, boxes as shares of their images' sides, classes the student's.
        found (np.ndarray): The table's index of each of the set's images, -1 for none.
        count (int): Classes of the student.
    """

    def __init__(self, dataset: Any, table: Table, found: np.ndarray, count: int):
        """Take the place of what the set does to load an image and to build its augmentations."""
        self.dataset, self.table, self.found, self.count = dataset, table, found, count
        self.reserved = max(count, len(dataset.data["names"]))
        self.polygons = any(len(x["segments"]) for x in dataset.labels)
        vars(dataset).update(get_image_and_label=self.load, build_transforms=self.build, answers=self)
        dataset.transforms.transforms[-1] = Part(dataset.transforms.transforms[-1], self)

    def load(self, index: int) -> dict[str, Any]:
        """Return an image with its labels and answers."""
        label = type(self.dataset).get_image_and_label(self.dataset, index)
        image = self.found[index]
        if image < 0:
            return label
        rows = self.table.boxes_of(image)
        known = label["instances"]
        boxes = self.table.boxes[rows].copy()
        more = Instances(boxes, self._outlines(boxes, known), self._points(boxes, known))
        label["instances"] = Instances.concatenate([known, more])
        cls = self.reserved + np.arange(rows.start, rows.stop, dtype=np.float64)[:, None]  # exact to 2 ** 53
        label["cls"] = np.concatenate([label["cls"].reshape(-1, 1), cls])
        return label

    def build(self, hyp: Any) -> Any:
        """Return the set's augmentations, at whose end labels and answers part."""
        transforms = type(self.dataset).build_transforms(self.dataset, hyp)
        transforms.transforms[-1] = Part(transforms.transforms[-1], self)
        return transforms

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Return the scores (k, classes) of some rows; where several of the table's classes are one, the largest."""
        out = np.zeros((len(rows), self.count), np.float32)
        first, last = self.table.start[rows], self.table.start[rows + 1]
        at = np.repeat(np.arange(len(rows)), last - first)
        pairs = np.concatenate([np.arange(a, b) for a, b in zip(first, last)] or [np.zeros(0, np.int64)])
        np.maximum.at(out, (at, self.table.cls[pairs]), self.table.score[pairs])
        return out

    def _outlines(self, boxes: np.ndarray, known: Instances) -> np.ndarray:
        """Return the outlines of boxes (k, points, 2), if the set's labels have polygons."""
        points = known.segments.shape[1]
        if not self.polygons or not len(boxes):
            return np.zeros((0, points, 2), np.float32)
        xy, wh = boxes[:, None, :2], boxes[:, None, 2:]
        signs = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]], np.float32)
        return np.stack(resample_segments(list(xy + wh * signs), n=points))

    def _points(self, boxes: np.ndarray, known: Instances) -> np.ndarray | None:
        """Return invisible keypoints for boxes, if the set's labels have keypoints."""
        return None if known.keypoints is None else np.zeros((len(boxes), *known.keypoints.shape[1:]), np.float32)


def remove_answers(dataset: Any) -> None:
    """Let a copy of a set load and augment its images as it did before answers rode with it."""
    for name in ("get_image_and_label", "build_transforms", "answers"):
        vars(dataset).pop(name, None)


class Part:
    """Parts answers from labels, and lets upstream's last step make tensors of the labels.

    Args:
        format (Any): Upstream's last step.
        ride (DatasetAnswers): Whose answers they are.
    """

    def __init__(self, format: Any, ride: DatasetAnswers):
        """Keep both."""
        self.format, self.ride = format, ride

    def __call__(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Return the sample, with its answers under a key of their own."""
        cls, instances = labels["cls"].reshape(-1, 1), labels["instances"]
        answers = cls[:, 0] >= self.ride.reserved
        told, rows = instances[answers], cls[answers, 0].astype(np.int64) - self.ride.reserved
        height, width = labels["img"].shape[:2]
        told.convert_bbox("xywh")
        told.normalize(width, height)
        labels.update(cls=cls[~answers].astype(np.float32), instances=instances[~answers])
        sample = self.format(labels)
        sample[KEY] = np.concatenate([told.bboxes.reshape(-1, 4), self.ride.scores(rows)], 1).astype(np.float32)
        return sample


def read_batch(answers: Sequence[np.ndarray], conf: float, device: torch.device) -> Boxes:
    """Return the answers of a batch whose best score is at least `conf`.

    Args:
        answers (Sequence[np.ndarray]): For each image an array (k, 4 + classes).
        conf (float): Score from which a box stands.
        device (torch.device): Where the boxes are wanted.

    Returns:
        (Boxes): The boxes.
    """
    rows = torch.from_numpy(np.concatenate(list(answers)))
    image = torch.arange(len(answers)).repeat_interleave(torch.tensor([len(x) for x in answers]))
    best, cls = rows[:, 4:].max(1)
    keep = best >= conf
    return Boxes(*(x[keep].to(device) for x in (image, rows[:, :4], cls, rows[:, 4:])))
