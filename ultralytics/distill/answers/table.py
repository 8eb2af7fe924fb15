# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A teacher's answers for many images, packed into arrays."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from ultralytics.distill.heads.classes import Classes

OUTSIDE = "is of other images, or of another size: it has a box outside of its image"
SLACK = 0.01  # share of an image's side by which a box may reach outside of it, as rounded ones do


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
        told (dict[str, Any]): What else the file says of itself: its teachers, thresholds, flips and scales.
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

    def boxes_of(self, image: int) -> slice:
        """Return the rows of an image's boxes."""
        return slice(int(self.first[image]), int(self.first[image + 1]))

    def require_sound(self) -> None:
        """Raise a ValueError, the rest of a sentence, for the first box or score that cannot be one."""
        bad = ~((self.score >= 0) & (self.score <= 1))
        wrong = {
            "has a box that is not four finite numbers": ~np.isfinite(self.boxes).all(1),
            "has a box of negative size": (self.boxes[:, 2:] < 0).any(1),
            "has a score that is no number from 0 to 1": self.each_box(np.maximum, bad),
        }
        for why, rows in wrong.items():
            self._require(~np.asarray(rows, bool), why)
        known = (self.shapes > 0).all(1).repeat(np.diff(self.first))  # boxes of the others are in pixels
        self._require(~known | _inside(self.boxes), OUTSIDE)

    def require_inside(self, rows: slice, boxes: np.ndarray, prefix: str = "") -> None:
        """Raise a ValueError if one of an image's boxes, given as shares of its sides, lies outside of it."""
        if not (inside := _inside(boxes[rows])).all():
            self._require(np.concatenate([np.ones(rows.start, bool), inside]), OUTSIDE, prefix, "." * bool(prefix))

    def each_box(self, reduce: np.ufunc, values: np.ndarray) -> np.ndarray:
        """Return one value for each box out of one for each score."""
        return np.asarray(reduce.reduceat(values, self.start[:-1])) if len(self.boxes) else values[:0]

    def for_classes(self, classes: Classes, conf: float, boxes: np.ndarray) -> Table:
        """Return the table in the student's classes, without boxes of which none has enough of a score.

        Args:
            classes (Classes): Which of the table's classes are which of the student's.
            conf (float): Score from which a box stands.
            boxes (np.ndarray): The boxes as shares of their images' sides.
        """
        places = np.full(max(self.cls.max(initial=0), *classes.teacher, 0) + 1, -1, np.int32)
        places[classes.teacher] = [0] * len(classes.teacher) if classes.merge else classes.student
        cls = places[self.cls]
        kept = self.each_box(np.maximum, np.where(cls >= 0, self.score, 0)) >= conf
        pairs = np.repeat(kept, np.diff(self.start)) & (cls >= 0)
        counts = self.each_box(np.add, pairs.astype(np.int64))[kept]
        start, first = np.append(0, counts.cumsum()), np.append(0, kept.cumsum())[self.first]
        packed = first, boxes[kept], start, cls[pairs], self.score[pairs]
        return Table({}, self.images, self.shapes, *packed)

    def _require(self, rows: np.ndarray, why: str, prefix: str = "", suffix: str = "") -> None:
        """Raise a ValueError that names the first row that is not as it should be."""
        if not rows.all():
            row = int(rows.argmin())
            image = self.images[int(np.searchsorted(self.first, row, side="right")) - 1]
            box = [round(float(x), 4) for x in self.boxes[row]]
            raise ValueError(f"{prefix}{why}, {box} (centre, width, height), in image '{image}'{suffix}")


def _inside(boxes: np.ndarray) -> np.ndarray:
    """Return which boxes (n, 4), given as shares, lie in their image."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    return np.asarray(((low >= -SLACK) & (high <= 1 + SLACK)).all(1))


class Packer:
    """Takes answers image by image and packs them."""

    def __init__(self) -> None:
        """Start empty."""
        self.images: list[str] = []
        self.shapes, self.first, self.boxes = array("i"), array("q", [0]), array("f")
        self.start, self.cls, self.score = array("q", [0]), array("i"), array("f")

    def image(
        self,
        name: str,
        shape: Sequence[int],
        boxes: Sequence[Sequence[float]],
        classes: Sequence[Sequence[int]],
        scores: Sequence[Sequence[float]],
    ) -> None:
        """Add an image with its boxes, and of each box the classes that have a score.

        Raises:
            TypeError: If something is no number.
            ValueError: If boxes, classes and scores do not go together; the rest of a sentence.
        """
        sizes = [list(map(len, x)) for x in (boxes, classes, scores)]
        if any(n != 4 for n in sizes[0]) or sizes[1] != sizes[2] or len(sizes[0]) != len(sizes[1]) or 0 in sizes[1]:
            raise ValueError("has not four numbers and as many classes as scores for each box")
        self.images.append(name)
        self.shapes.extend(shape)
        self.boxes.extend(chain.from_iterable(boxes))
        self.cls.extend(chain.from_iterable(classes))
        self.score.extend(chain.from_iterable(scores))
        self.start.extend(accumulate(sizes[1], initial=self.start.pop()))
        self.first.append(len(self.start) - 1)

    def table(self, names: dict[int, str], told: dict[str, Any] | None = None) -> Table:
        """Return what was packed."""
        shapes, boxes = np.array(self.shapes, np.int32).reshape(-1, 2), np.array(self.boxes, np.float32).reshape(-1, 4)
        start, cls, score = (np.asarray(x) for x in (self.start, self.cls, self.score))
        return Table(names, self.images, shapes, np.asarray(self.first), boxes, start, cls, score, told or {})


def parts_of(path: str) -> tuple[str, ...]:
    """Return the parts of a path; of the last one no ending, nor zeros before a number, as COCO's ids have none."""
    *folders, last = (PureWindowsPath if "\\" in path else PurePosixPath)(path).parts
    last = last.rpartition(".")[0] or last
    return (*folders, str(int(last)) if last.isdigit() else last)


def find_images(files: Sequence[str], images: Sequence[str]) -> np.ndarray:
    """Find which image of a table each of a data set's files is: that whose whole path ends the file's.

    Args:
        files (Sequence[str]): The data set's files.
        images (Sequence[str]): The table's images, by their path below a folder, or by name alone.

    Returns:
        (np.ndarray): The table's index of each file (files,), -1 for a file that it does not name.

    Raises:
        ValueError: If an image is named twice, or stands for several files; the rest of a sentence.
    """
    known = {parts_of(x): i for i, x in enumerate(images)}
    if len(known) < len(images):
        raise ValueError("names an image twice")
    depths = sorted({len(k) for k in known}, reverse=True)
    wanted = [parts_of(f) for f in files]
    found = [next((known[w[-d:]] for d in depths if w[-d:] in known), -1) for w in wanted]
    first: dict[int, str] = {}
    for file, i in zip(files, found):
        if i >= 0 and first.setdefault(i, file) != file:
            raise ValueError(f"names '{images[i]}', which may be '{first[i]}' or '{file}'; give its folder too")
    return np.array(found, np.int64)
