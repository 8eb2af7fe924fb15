# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Lets answers travel with their images through a training set's augmentations, beside the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ultralytics.data.utils import polygons2masks
from ultralytics.distill.answers.paste import paste_along
from ultralytics.distill.answers.table import Table, ragged
from ultralytics.distill.boxes import Boxes
from ultralytics.utils.instance import Instances
from ultralytics.utils.ops import resample_segments, xyxyxyxy2xywhr

KEY = "answers"  # of a batch: for each image an array (k, 4 + classes), a box as shares of the image and its scores
KEYS = (KEY, "answers_masks", "answers_keypoints")  # and tensors (k, H, W) or (k, K, 3), where the file has them


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
        extra (str): What of the table is taught beside boxes: `masks`, `keypoints`, `angles` or nothing.
    """

    def __init__(self, dataset: Any, table: Table, found: np.ndarray, count: int, extra: str = ""):
        """Take the place of what the set does to load an image and to build its augmentations."""
        self.dataset, self.table, self.found, self.count, self.extra = dataset, table, found, count, extra
        self.reserved = max(count, len(dataset.data["names"]))
        self.polygons = extra in {"masks", "angles"} or any(len(x["segments"]) for x in dataset.labels)
        vars(dataset).update(get_image_and_label=self.load, build_transforms=self.build, answers=self)
        self.enter(dataset.transforms)

    def load(self, index: int) -> dict[str, Any]:
        """Return an image with its labels and answers."""
        label = type(self.dataset).get_image_and_label(self.dataset, index)
        image = self.found[index]
        if image < 0:
            return label
        rows = self.table.boxes_of(image)
        known = label["instances"]
        boxes = self.table.boxes[rows].copy()
        more = Instances(boxes, self._outlines(rows, boxes, known), self._points(rows, known))
        label["instances"] = Instances.concatenate([known, more])
        cls = self.reserved + np.arange(rows.start, rows.stop, dtype=np.float64)[:, None]  # exact to 2 ** 53
        label["cls"] = np.concatenate([label["cls"].reshape(-1, 1), cls])
        return label

    def build(self, hyp: Any) -> Any:
        """Return the set's augmentations, at whose end labels and answers part."""
        transforms = type(self.dataset).build_transforms(self.dataset, hyp)
        self.enter(transforms)
        return transforms

    def enter(self, transforms: Any) -> None:
        """Let answers part from labels at the end of a set's augmentations, and go with the labels that are pasted."""
        transforms.transforms[-1] = SplitAnswers(transforms.transforms[-1], self)
        paste_along(transforms, self)

    def split(self, labels: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a sample with its labels alone, and `cls` and `instances` of its answers."""
        cls, instances = labels["cls"].reshape(-1, 1), labels["instances"]
        answers = cls[:, 0] >= self.reserved
        told = {"cls": cls[answers], "instances": instances[answers]}
        return {**labels, "cls": cls[~answers], "instances": instances[~answers]}, told

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Return the scores (k, classes) of some rows; where several of the table's classes are one, the largest."""
        out = np.zeros((len(rows), self.count), np.float32)
        pairs, first = ragged(self.table.start, rows)
        at = np.repeat(np.arange(len(rows)), np.diff(first))
        np.maximum.at(out, (at, self.table.cls[pairs]), self.table.score[pairs])
        return out

    def _outlines(self, rows: slice, boxes: np.ndarray, known: Instances) -> np.ndarray:
        """Return the outlines (k, points, 2) of boxes, if the set has outlines: their own, else the boxes' sides."""
        points = known.segments.shape[1]
        if not self.polygons or not len(boxes):
            return np.zeros((0, points, 2), np.float32)
        if self.extra in {"masks", "angles"}:
            return np.stack(resample_segments(self.table.outlines_of(rows), n=points))
        xy, wh = boxes[:, None, :2], boxes[:, None, 2:]
        signs = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]], np.float32)
        return np.stack(resample_segments(list(xy + wh * signs), n=points))

    def _points(self, rows: slice, known: Instances) -> np.ndarray | None:
        """Return the keypoints of boxes, if the set's labels have keypoints; invisible ones where there are none."""
        if known.keypoints is None:
            return None
        if self.extra == "keypoints":
            return self.table.keypoints[rows].copy()
        return np.zeros((rows.stop - rows.start, known.keypoints.shape[1], 3), np.float32)


def remove_answers(dataset: Any) -> None:
    """Let a copy of a set load and augment its images as it did before answers joined it."""
    for name in ("get_image_and_label", "build_transforms", "answers"):
        vars(dataset).pop(name, None)


@dataclass
class SplitAnswers:
    """Parts answers from labels, and lets upstream's last step, `format`, make tensors of the labels."""

    format: Any
    answers: DatasetAnswers

    def __call__(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Return the sample, with its answers under keys of their own."""
        labels, told = self.answers.split(labels)
        height, width = labels["img"].shape[:2]
        instances, rows = told["instances"], told["cls"][:, 0].astype(np.int64) - self.answers.reserved
        labels["cls"] = labels["cls"].astype(np.float32)
        sample = self.format(labels)
        instances.convert_bbox("xywh")
        instances.denormalize(width, height)
        boxes, sides = instances.bboxes.reshape(-1, 4), np.array([width, height], np.float32)
        if self.answers.extra == "angles":
            boxes = xyxyxyxy2xywhr(torch.from_numpy(instances.segments)).numpy().reshape(-1, 5)
        elif self.answers.extra == "masks":
            ratio = self.format.mask_ratio
            masks = polygons2masks((height, width), list(instances.segments), color=1, downsample_ratio=ratio)
            sample[KEYS[1]] = torch.from_numpy(masks.reshape(len(boxes), height // ratio, width // ratio))
        elif self.answers.extra == "keypoints":
            points = instances.keypoints
            sample[KEYS[2]] = torch.from_numpy(np.concatenate([points[..., :2] / sides, points[..., 2:]], 2))
        shares = np.concatenate([boxes[:, :4] / np.tile(sides, 2), boxes[:, 4:], self.answers.scores(rows)], 1)
        sample[KEY] = shares.astype(np.float32)
        return sample


def read_batch(told: Mapping[str, Sequence[Any]], images: int, count: int, conf: float, device: torch.device) -> Boxes:
    """Return the answers of a batch, for `count` classes, whose best score is at least `conf`.

    They are told for each of `KEYS` by what the images have; nothing is where auto-batch weighs a step.
    """
    each = list(told[KEY]) or [np.zeros((0, 4 + count), np.float32)] * images
    rows = torch.from_numpy(np.concatenate(each))
    image = torch.arange(len(each)).repeat_interleave(torch.tensor([len(x) for x in each]))
    boxes, scores = rows.split((rows.shape[1] - count, count), 1)
    masks, points = (told.get(k) for k in KEYS[1:])
    more = {"masks": torch.cat(list(masks)).float() - 0.5} if masks else {}
    more.update({"keypoints": torch.cat(list(points))} if points else {})
    best, cls = scores.max(1)
    return Boxes(image, boxes, cls, scores, more)[best >= conf].each(lambda x: x.to(device))
