# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Packs answers into a table, image by image, so that millions of boxes never stand in memory as objects."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np

from ultralytics.distill.answers.table import Table


class Packer:
    """Takes answers image by image and packs them, with `masks`, `keypoints`, `angles` or nothing beside each box."""

    def __init__(self, extra: str = "", points: int = 0) -> None:
        """Start empty."""
        self.extra, self.count = extra, points
        self.numbers, self.outline = array("f"), array("q", [0])
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
        more: Sequence[Sequence[float]] = (),
    ) -> None:
        """Add an image with its boxes, of each box the classes that have a score, and its outline or its keypoints.

        What is no number is a TypeError, what does not go together a ValueError with the rest of a sentence.
        """
        sizes = [list(map(len, x)) for x in (boxes, classes, scores)]
        if any(n != 4 for n in sizes[0]) or sizes[1] != sizes[2] or len(sizes[0]) != len(sizes[1]) or 0 in sizes[1]:
            raise ValueError("has not four numbers and as many classes as scores for each box")
        if self.extra:
            self._require_more([len(x) for x in more], len(boxes))
            self.numbers.extend(chain.from_iterable(more))
            self.outline.extend(accumulate((len(x) // 2 for x in more), initial=self.outline.pop()))
        self.images.append(name)
        self.shapes.extend(shape)
        self.boxes.extend(chain.from_iterable(boxes))
        self.cls.extend(chain.from_iterable(classes))
        self.score.extend(chain.from_iterable(scores))
        self.start.extend(accumulate(sizes[1], initial=self.start.pop()))
        self.first.append(len(self.start) - 1)

    def _require_more(self, sizes: list[int], boxes: int) -> None:
        """Raise a ValueError, the rest of a sentence, unless there is an outline or are keypoints for each box."""
        sound = {
            "masks": ("a polygon of three points or more", lambda n: n >= 6 and n % 2 == 0),
            "angles": ("four corners, eight numbers,", lambda n: n == 8),
            "keypoints": (f"{self.count} keypoints of three numbers", lambda n: n == 3 * self.count),
        }
        what, fits = sound[self.extra]
        if len(sizes) != boxes or not all(map(fits, sizes)):
            raise ValueError(f"has not {what} for each box")

    def table(self, names: dict[int, str], told: dict[str, Any] | None = None) -> Table:
        """Return what was packed."""
        shapes, boxes = np.array(self.shapes, np.int32).reshape(-1, 2), np.array(self.boxes, np.float32).reshape(-1, 4)
        start, cls, score = (np.asarray(x) for x in (self.start, self.cls, self.score))
        more: dict[str, Any] = {}
        numbers = np.array(self.numbers, np.float32)
        if self.extra == "keypoints":
            more["keypoints"] = numbers.reshape(-1, self.count, 3)
        elif self.extra:
            more.update(points=numbers.reshape(-1, 2), outline=np.asarray(self.outline))
        return Table(names, self.images, shapes, np.asarray(self.first), boxes, start, cls, score, told or {}, **more)
