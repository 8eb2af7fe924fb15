# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Reads answers in COCO's format: a list of results, or a data set whose annotations have scores."""

from __future__ import annotations

import json
from array import array
from typing import Any, TextIO

import numpy as np

from ultralytics.distill.answers.table import Table

WANTED = ("image_id", "category_id", "bbox", "score")


class Results:
    """Takes results out of a JSON text while it is read, so that millions of them never stand in memory as objects."""

    def __init__(self) -> None:
        """Start empty."""
        self.ids: dict[Any, int] = {}
        self.image, self.category = array("q"), array("i")
        self.box, self.score = array("f"), array("f")

    def __call__(self, item: dict[str, Any]) -> Any:
        """Take in an object of the text if it is a result; hand on any other."""
        if "image_id" not in item and "bbox" not in item:
            return item
        if missing := [k for k in WANTED if k not in item]:
            why = "; labels are no answers" if missing == ["score"] else ""
            raise ValueError(f"has a result without '{missing[0]}', {str(item):.80}{why}")
        try:
            x, y, w, h = item["bbox"]
            self.box.extend((x + w / 2, y + h / 2, w, h))
            self.category.append(item["category_id"])
            self.score.append(item["score"])
            self.image.append(self.ids.setdefault(item["image_id"], len(self.ids)))
        except (TypeError, ValueError, OverflowError) as e:
            raise ValueError(f"has a result that cannot be read ({e}), {str(item):.80}") from None
        return None


def pack_coco(f: TextIO) -> Table:
    """Return the table of a file in COCO's format.

    Args:
        f (TextIO): The file.

    Returns:
        (Table): What it holds. A list of results has neither names nor shapes, a data set has both.

    Raises:
        ValueError: If it is something else; the rest of a sentence.
    """
    found = Results()
    top = json.load(f, object_hook=found)
    if isinstance(top, dict) and all(isinstance(top.get(k), list) for k in ("images", "categories", "annotations")):
        return _with_images(found, top)
    if not isinstance(top, list) or any(x is not None for x in top) or not top:
        raise ValueError(
            "is neither a list of results in COCO's format, each with image_id, category_id, bbox and score, nor a "
            "data set with images, categories and annotations"
        )
    return _table(found, [str(i) for i in found.ids], np.zeros((len(found.ids), 2), np.int32), {})


def _with_images(found: Results, top: dict[str, Any]) -> Table:
    """Return the table of a data set, whose images have names and sizes and whose categories have names."""
    try:
        images = {x["id"]: (str(x["file_name"]), int(x["height"]), int(x["width"])) for x in top["images"]}
        names = {int(x["id"]): str(x["name"]) for x in top["categories"]}
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            "lacks an id, file_name, height or width of an image, or the id or name of a category"
        ) from None
    if unknown := [i for i in found.ids if i not in images]:
        raise ValueError(f"has a result of image {unknown[0]}, which its 'images' do not list")
    if strange := set(found.category) - set(names):
        raise ValueError(f"has category {min(strange)}, which its 'categories' do not list")
    for i in images:  # those without a result too: nothing is there
        found.ids.setdefault(i, len(found.ids))
    shapes = np.array([images[i][1:] for i in found.ids], np.int32).reshape(-1, 2)
    return _table(found, [images[i][0] for i in found.ids], shapes, names)


def _table(found: Results, images: list[str], shapes: np.ndarray, names: dict[int, str]) -> Table:
    """Return results sorted by image, boxes as shares of their image where its shape is known."""
    image = np.asarray(found.image)
    order = np.argsort(image, kind="stable")
    boxes = np.asarray(found.box).reshape(-1, 4)[order]
    size = np.tile(shapes[image[order]][:, ::-1], 2)
    boxes = np.where(size > 0, boxes / np.maximum(size, 1), boxes).astype(np.float32)
    first = np.concatenate([[0], np.bincount(image, minlength=len(images)).cumsum()])
    each = np.asarray(found.category)[order], np.asarray(found.score)[order]
    return Table(names, images, shapes, first, boxes, np.arange(len(image) + 1), *each)
