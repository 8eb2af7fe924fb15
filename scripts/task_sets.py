# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Draws a tiny data set for any task: tilted boards of three colours before a grey wall, with labels of its kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ultralytics.distill.upstream import save_yaml

NAMES = ("red", "green", "blue")
COLORS = ((60, 60, 220), (60, 200, 60), (220, 80, 60))  # BGR
WALL = 4.0  # metres to the wall


@dataclass
class Board:
    """One object.

    Attributes:
        kind (int): Class.
        corners (np.ndarray): Pixels (4, 2).
        depth (float): Metres.
    """

    kind: int
    corners: np.ndarray
    depth: float


def draw_set(
    task: str,
    folder: str | Path,
    train: int = 8,
    val: int = 4,
    imgsz: int = 64,
    seed: int = 0,
    names: tuple[str, ...] = NAMES,
    points: int = 3,
) -> str:
    """Draw a set for any of Ultralytics' tasks, with square images of `imgsz` pixels.

    The boards have the three colours in turn, whatever the classes' names, and for pose so many keypoints: the corners
    in turn. Returned is what `data=` takes: a YAML, or for classification the folder.
    """
    root, rng = Path(folder), np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for i in range(count):
            boards = [_place(rng, (i + j) % len(names), imgsz) for j in range(1 if task == "classify" else 1 + i % 2)]
            boards.sort(key=lambda b: -b.depth)  # the nearest is drawn last
            image = rng.integers(90, 130, (imgsz, imgsz, 3), dtype=np.uint8)
            for b in boards:
                cv2.fillConvexPoly(image, b.corners.astype(np.int32), COLORS[b.kind % 3])
            _write(task, root, split, f"{i}.png", image, boards, names, points)
    if task == "classify":
        return str(root)
    save_yaml(root / "data.yaml", _describe(task, root, names, points))
    return str(root / "data.yaml")


def _place(rng: np.random.Generator, kind: int, imgsz: int) -> Board:
    """Place a board of a kind at random, wholly inside the image."""
    depth = float(rng.uniform(1.0, 3.0))
    sides = rng.uniform(0.2, 0.4, 2) * imgsz
    reach = float(np.hypot(*sides)) / 2
    centre = rng.uniform(reach, imgsz - reach, 2)
    corners = cv2.boxPoints((tuple(map(float, centre)), tuple(map(float, sides)), float(rng.uniform(0, 90))))
    return Board(kind, corners, depth)


def _describe(task: str, root: Path, names: tuple, points: int) -> dict[str, object]:
    """Return the content of the set's YAML."""
    found: dict[str, object] = {"path": str(root.resolve()), "train": "images/train", "val": "images/val"}
    if task == "semantic":
        return {**found, "masks_dir": "masks", "names": dict(enumerate(("wall", *names)))}
    if task == "depth":
        return {**found, "nc": 1, "names": {0: "depth"}, "channels": 3, "depth_scale": 1000}
    if task == "pose":
        found |= {"kpt_shape": [points, 3], "flip_idx": list(range(points))}
    return {**found, "names": dict(enumerate(names))}


def _write(
    task: str, root: Path, split: str, name: str, image: np.ndarray, boards: list[Board], names: tuple, points: int
) -> None:
    """Write an image and its labels."""
    place = root / split / names[boards[0].kind] if task == "classify" else root / "images" / split
    place.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(place / name), image)
    if task in {"semantic", "depth"}:
        place = root / {"semantic": "masks", "depth": "depth"}[task] / split
        place.mkdir(parents=True, exist_ok=True)
        value = np.full(image.shape[:2], 0 if task == "semantic" else WALL * 1000, np.float32)
        for b in boards:
            cv2.fillConvexPoly(value, b.corners.astype(np.int32), b.kind + 1 if task == "semantic" else b.depth * 1000)
        cv2.imwrite(str(place / name), value.astype(np.uint8 if task == "semantic" else np.uint16))
    elif task != "classify":
        labels = root / "labels" / split
        labels.mkdir(parents=True, exist_ok=True)
        rows = [[b.kind, *_label(task, b.corners / image.shape[0], points)] for b in boards]
        text = "\n".join(" ".join(f"{v:.6g}" for v in row) for row in rows)
        (labels / Path(name).with_suffix(".txt")).write_text(f"{text}\n")


def _label(task: str, corners: np.ndarray, points: int) -> list[float]:
    """Return the numbers that a task's label file has for corners from 0 to 1."""
    if task in {"segment", "obb"}:
        return corners.ravel().tolist()
    low, high = corners.min(0), corners.max(0)
    seen = [v for x, y in np.resize(corners, (points, 2)) for v in (x, y, 2)] if task == "pose" else []
    return [*((low + high) / 2), *(high - low), *seen]
