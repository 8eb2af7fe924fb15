# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Reads answers in COCO's format: a list of results, or a data set whose annotations have scores."""

from __future__ import annotations

import json
from array import array
from typing import Any, TextIO

import numpy as np

from ultralytics.data.converter import merge_multi_segment
from ultralytics.distill.answers.table import Table, ragged
from ultralytics.utils.ops import masks2segments

WANTED = ("image_id", "category_id", "bbox", "score")
KINDS = {"poly": "obb", "segmentation": "segment", "keypoints": "pose"}  # what a result may have beside its box


class Results:
    """Takes results out of a JSON text while it is read, so that millions of them never stand in memory as objects."""

    def __init__(self) -> None:
        """Start empty."""
        self.ids: dict[Any, int] = {}
        self.image, self.category = array("q"), array("i")
        self.box, self.score = array("f"), array("f")
        self.more = {k: (array("f"), array("q", [0])) for k in KINDS}  # numbers, and where those of each result begin

    def __call__(self, item: dict[str, Any]) -> Any:
        """Take in an object of the text if it is a result; hand on any other."""
        if "image_id" not in item and "bbox" not in item:
            return item
        corners = item.get("poly")
        if corners and "bbox" not in item:  # of a rotated box
            low, high = (min(corners[::2]), min(corners[1::2])), (max(corners[::2]), max(corners[1::2]))
            item = {**item, "bbox": (*low, high[0] - low[0], high[1] - low[1])}
        if missing := [k for k in WANTED if k not in item]:
            why = "; labels are no answers" if missing == ["score"] else ""
            raise ValueError(f"has a result without '{missing[0]}', {str(item):.80}{why}")
        try:
            if item.get("segmentation"):
                item = {**item, "segmentation": _polygon(item["segmentation"])}
                if len(item["segmentation"]) < 6:  # a mask of a cell or none, which upstream's predictions leave out
                    return None
            x, y, w, h = item["bbox"]
            self.box.extend((x + w / 2, y + h / 2, w, h))
            self.category.append(item["category_id"])
            self.score.append(item["score"])
            self.image.append(self.ids.setdefault(item["image_id"], len(self.ids)))
            for name, (numbers, first) in self.more.items():
                numbers.extend(item.get(name) or ())
                first.append(len(numbers))
        except (TypeError, ValueError, OverflowError) as e:
            raise ValueError(f"has a result that cannot be read ({e}), {str(item):.80}") from None
        return None

    def kind(self) -> str:
        """Return what all results have beside a box: a key of `KINDS`, or nothing."""
        counts = {k: np.diff(np.asarray(first)) for k, (_, first) in self.more.items()}
        whole = {k: bool(len(n)) and bool(n.min() > 0) for k, n in counts.items()}
        points = counts["keypoints"]
        if whole["poly"] and (counts["poly"] == 8).all():
            return "poly"
        if whole["segmentation"]:
            return "segmentation"
        return "keypoints" if whole["keypoints"] and (points == points[0]).all() and points[0] % 3 == 0 else ""


def _polygon(segmentation: Any) -> list[float]:
    """Return one polygon, x and y by turns, of a mask in COCO's format: several polygons, or lengths of runs."""
    if isinstance(segmentation, dict):
        outlines = masks2segments(read_mask(**segmentation)[None])
        return list(np.ravel(outlines[0]))
    parts = [np.asarray(x, np.float32) for x in segmentation]
    if len(parts) > 1:
        return list(np.ravel(np.concatenate(merge_multi_segment(parts))))
    return list(np.ravel(parts))


def read_mask(size: list[int], counts: Any) -> np.ndarray:
    """Return a mask of a size (H, W), 1 inside, that is given by the lengths of its runs, by columns, outside first.

    In a text each length is a number of 5 bits a character, the lowest first, from the fourth on the difference to that
    before the last (the MS COCO API's `rleToString`).
    """
    if isinstance(counts, str):
        text, counts, value, shift = counts.encode(), [], 0, 0
        for code in text:
            code -= 48
            value |= (code & 31) << shift
            shift += 5
            if not code & 32:
                value -= (code & 16) << (shift - 4)  # the sign
                counts.append(value + (counts[-2] if len(counts) > 2 else 0))
                value = shift = 0
    inside = np.repeat(np.arange(len(counts)) % 2, counts).astype(np.uint8)
    return inside.reshape(size[1], size[0]).T


def pack_coco(f: TextIO) -> Table:
    """Return the table of a file in COCO's format: a list of results has neither names nor shapes, a data set both.

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
    more = _more(found, order, np.maximum(shapes, 1)[image[order]][:, ::-1])
    return Table(names, images, shapes, first, boxes, np.arange(len(image) + 1), *each, **more)


def _more(found: Results, order: np.ndarray, size: np.ndarray) -> dict[str, Any]:
    """Return the outlines or keypoints of results in an order, in units of a size (results, 2), and of which task."""
    kind = found.kind()
    if not kind:
        return {}
    numbers, first = (np.asarray(x) for x in found.more[kind])
    told = {"task": KINDS[kind]}
    if kind == "keypoints":
        points = numbers.reshape(len(order), -1, 3)[order]
        points = np.concatenate([points[..., :2] / size[:, None], np.minimum(points[..., 2:], 1)], 2)
        return {"told": told, "keypoints": points.astype(np.float32)}
    index, outline = ragged(first // 2, order)
    points = numbers.reshape(-1, 2)[index] / size.repeat(np.diff(outline), axis=0)
    return {"told": told, "outline": outline, "points": points.astype(np.float32)}
