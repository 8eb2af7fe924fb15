# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A teacher's answers for many images, packed into arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from ultralytics.distill.heads.classes import Classes
from ultralytics.distill.image_files import is_named

OUTSIDE = "is of other images, or of another size: it has a box outside of its image"
SLACK = 0.01  # share of an image's side by which a box may reach outside of it, as rounded ones do
TASKS = {"detect": "", "segment": "masks", "pose": "keypoints", "obb": "angles"}  # what a file has of each box


@dataclass
class Table:
    """What a file of answers holds; 2 million boxes of 100,000 images take some 100 MB.

    Attributes:
        names (dict[int, str]): The file's classes; empty where it has numbers alone.
        images (list[str]): The images by path or stem, in the order of the file.
        shapes (np.ndarray): Height and width of each image in pixels (images, 2), 0 where the file does not say.
        first (np.ndarray): Where the boxes of each image begin (images + 1,).
        boxes (np.ndarray): x and y of the centre, width and height (boxes, 4): shares of the image's sides, or pixels
            where its shape is not known.
        start (np.ndarray): Where the scores of each box begin (boxes + 1,).
        cls (np.ndarray): Class of each score (scores,), a key of `names`.
        score (np.ndarray): The scores (scores,), 0 to 1.
        told (dict[str, Any]): What else the file says of itself: its task, teachers, thresholds, flips and scales.
        outline (np.ndarray): Where the outline of each box begins (boxes + 1,), a mask's polygon or the four corners of
            a rotated box; empty where the file has none.
        points (np.ndarray): The points of the outlines (points, 2), in the units of the boxes.
        keypoints (np.ndarray): The keypoints of each box (boxes, K, 3), x and y in the units of the boxes and the
            visibility, 0 to 1; K is 0 where the file has none.
    """

    names: dict[int, str]
    images: list[str]
    shapes: np.ndarray
    first: np.ndarray
    boxes: np.ndarray
    start: np.ndarray
    cls: np.ndarray
    score: np.ndarray
    told: dict[str, Any] = field(default_factory=dict)
    outline: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    keypoints: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 3), np.float32))

    @property
    def extra(self) -> str:
        """Return what stands beside each box: `masks`, `keypoints`, `angles` or nothing."""
        return TASKS[self.told.get("task", "detect")]

    def outlines_of(self, rows: slice) -> list[np.ndarray]:
        """Return the outlines (points, 2) of some boxes."""
        return [self.points[a:b] for a, b in zip(self.outline[rows], self.outline[rows.start + 1 : rows.stop + 1])]

    def boxes_of(self, image: int) -> slice:
        """Return the rows of an image's boxes."""
        return slice(int(self.first[image]), int(self.first[image + 1]))

    def require_sound(self) -> None:
        """Raise a ValueError, the rest of a sentence, for the first box or score that cannot be one."""
        seen = self.keypoints[..., 2]
        sound = {
            "has a box that is not four finite numbers": np.isfinite(self.boxes).all(1),
            "has a box of negative size": ~(self.boxes[:, 2:] < 0).any(1),
            "has a score that is no number from 0 to 1": self.each_box(_share(self.score)),
            "has an outline that is no finite numbers": self.each_outline(np.isfinite(self.points).all(1)),
            "has a keypoint that is no finite numbers": np.isfinite(self.keypoints).all((1, 2)),
            "has a keypoint whose visibility is no number from 0 to 1": _share(seen).all(1),
        }
        for why, rows in sound.items():
            self._require(np.asarray(rows), why)
        known = (self.shapes > 0).all(1).repeat(np.diff(self.first))  # boxes of the others are in pixels
        self.require_inside(~known)

    def require_inside(self, unknown: np.ndarray, prefix: str = "") -> None:
        """Raise a ValueError for the first box or outline, given as shares of its image's sides, that lies outside.

        Rotated boxes may by an image's side, and keypoints may, as labels of theirs. Boxes that are `unknown` (boxes,)
        are not looked at. `prefix` is how the sentence begins; without it its rest is raised.
        """
        ends, slack = corners_of(self.boxes), 1.0 if self.extra == "angles" else SLACK
        self._require(unknown | _share(ends, slack).all(1), OUTSIDE, prefix)
        if self.extra == "masks" and len(self.points):
            inside = self.each_outline(np.asarray(_share(self.points, SLACK).all(1)))
            self._require(unknown | inside, OUTSIDE.replace("box", "polygon"), prefix)

    def each_box(self, values: np.ndarray, reduce: np.ufunc = np.logical_and) -> np.ndarray:
        """Return one value for each box out of one for each score."""
        return np.asarray(reduce.reduceat(values, self.start[:-1])) if len(self.boxes) else values[:0]

    def each_outline(self, good: np.ndarray) -> np.ndarray:
        """Return which boxes' outlines have only good points; nothing where there are no outlines."""
        return np.asarray(np.logical_and.reduceat(good, self.outline[:-1]) if len(good) else good)

    def for_classes(self, classes: Classes, conf: float) -> Table:
        """Return the table in the student's classes, without boxes of which none has a score of at least `conf`."""
        places = np.full(max(self.cls.max(initial=0), *classes.teacher, 0) + 1, -1, np.int32)
        places[classes.teacher] = [0] * len(classes.teacher) if classes.merge else classes.student
        cls = places[self.cls]
        kept = self.each_box(np.where(cls >= 0, self.score, 0), np.maximum) >= conf
        pairs = np.repeat(kept, np.diff(self.start)) & (cls >= 0)
        counts = self.each_box(pairs.astype(np.int64), np.add)[kept]
        start, first = np.append(0, counts.cumsum()), np.append(0, kept.cumsum())[self.first]
        packed = first, self.boxes[kept], start, cls[pairs], self.score[pairs]
        return Table({}, self.images, self.shapes, *packed, self.told, **self.of_rows(np.flatnonzero(kept)))

    def divided(self, sides: np.ndarray) -> Table:
        """Return the table with its boxes, outlines and keypoints divided by the sides (images, 2), x and y."""
        each = sides.repeat(np.diff(self.first), axis=0)
        more = {"boxes": self.boxes / np.tile(each, 2)}
        if len(self.outline):
            more["points"] = self.points / each.repeat(np.diff(self.outline), axis=0)
        if len(self.keypoints):
            more["keypoints"] = np.concatenate([self.keypoints[..., :2] / each[:, None], self.keypoints[..., 2:]], 2)
        return replace(self, **more)

    def of_rows(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outlines and keypoints of some boxes, by the names of the attributes that hold them."""
        found = {"keypoints": self.keypoints[rows] if len(self.keypoints) else self.keypoints}
        if len(self.outline):
            index, found["outline"] = ragged(self.outline, rows)
            found["points"] = self.points[index]
        return found

    def _require(self, rows: np.ndarray, why: str, prefix: str = "") -> None:
        """Raise a ValueError that names the first row that is not as it should be."""
        if not rows.all():
            row = int(rows.argmin())
            image = self.images[int(np.searchsorted(self.first, row, side="right")) - 1]
            box = [round(float(x), 4) for x in self.boxes[row]]
            raise ValueError(f"{prefix}{why}, {box} (centre, width, height), in image '{image}'{'.' * bool(prefix)}")


def corners_of(boxes: np.ndarray) -> np.ndarray:
    """Return x1, y1, x2, y2 (n, 4) of boxes given as centre, width and height."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)


def _share(values: np.ndarray, slack: float = 0.0) -> np.ndarray:
    """Return which values are from 0 to 1, but for some slack."""
    return (values >= -slack) & (values <= 1 + slack)


def ragged(start: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of what some rows (k,) have, one after the other, and where each row's begin then (k + 1,).

    `start` says where those of each row begin (all rows + 1,).
    """
    counts = np.diff(start)[rows]
    first = np.append(0, counts.cumsum())
    return np.arange(first[-1]) + np.repeat(start[rows] - first[:-1], counts), first


def parts_of(path: str) -> tuple[str, ...]:
    """Return the parts of a path."""
    return (PureWindowsPath if "\\" in path else PurePosixPath)(path).parts


def stem_of(path: str) -> tuple[str, ...]:
    """Return the parts of a path; of the last one no image's ending, nor zeros before a number, as of COCO's ids."""
    *folders, last = parts_of(path)
    last = last.rpartition(".")[0] if is_named(last) else last
    return (*folders, str(int(last)) if last.isdecimal() else last)


def find_images(files: Sequence[str], images: Sequence[str]) -> np.ndarray:
    """Find which image of a table each of a data set's files is: that whose whole path ends the file's.

    What is not found by its whole name is looked for without its ending, among the images that are left.

    Returns:
        (np.ndarray): The table's index of each file (files,), -1 for a file that it does not name.

    Raises:
        ValueError: If an image is named twice, or stands for several files; the rest of a sentence.
    """
    found = np.full(len(files), -1, np.int64)
    for read in (parts_of, stem_of):
        open_files, taken = np.flatnonzero(found < 0).tolist(), set(found.tolist())
        keys = [read(x) if i not in taken else () for i, x in enumerate(images)] if open_files else []
        known = {k: i for i, k in enumerate(keys) if k}
        twice = {k for i, k in enumerate(keys) if k and known[k] != i}
        depths = sorted({len(k) for k in known}, reverse=True)
        for n in open_files:
            parts = read(files[n])
            key = next((parts[-d:] for d in depths if parts[-d:] in known), ())
            if key in twice:
                raise ValueError(f"names '{images[known[key]]}' twice")
            found[n] = known.get(key, -1)
    first: dict[int, str] = {}
    for file, i in zip(files, found.tolist()):
        if i >= 0 and first.setdefault(i, file) != file:
            raise ValueError(f"names '{images[i]}', which may be '{first[i]}' or '{file}'; give its folder too")
    return found
