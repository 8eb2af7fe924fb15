# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Small stand-ins for the data sets, videos and archives that upstream's tests look for, drawn on the spot."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Callable, Sequence

import cv2
import numpy as np

SPLITS = ("train", "val")
COUNT = 4  # images of a split, as in upstream's own small sets
SIZE = (96, 128)  # height and width of an image; not square, so that letterboxes have borders
Label = Callable[[int, np.ndarray], str]  # class, box (x1, y1, x2, y2) in pixels -> one line


def draw_datasets(folder: Path) -> None:
    """Draw every set into a folder, under upstream's names.

    Args:
        folder (Path): What `datasets_dir` of upstream's settings names.
    """
    draw_boxes(folder / "coco8", 80, as_box)
    draw_boxes(folder / "coco8-grayscale", 80, as_box)
    draw_boxes(folder / "coco8-seg", 80, as_corners)
    draw_boxes(folder / "coco8-pose", 1, as_pose)
    draw_boxes(folder / "dota8", 15, as_corners)
    draw_boxes(folder / "coco8-multispectral", 80, as_box, channels=10)
    for name in ("coco128", "coco128-seg"):
        draw_boxes(folder / name, 80, as_box if name == "coco128" else as_corners, splits=("train2017",))
    draw_masks(folder / "cityscapes8")
    draw_depths(folder / "depth8-png")
    draw_classes(folder / "imagenet10")


def draw_videos(folder: Path, names: Sequence[str]) -> None:
    """Draw the solutions' assets: short videos of moving objects, a picture, regions, and an archive of pictures.

    Args:
        folder (Path): Where upstream's tests cache them.
        names (Sequence[str]): The files' names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames = [cv2.resize(image, (640, 360)) for image, _ in (draw(i, 2) for i in range(6))]
    for name in names:
        path = folder / name
        if path.suffix in {".mp4", ".mov"}:
            video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (640, 360))
            for frame in frames:
                video.write(frame)
            video.release()
        elif path.suffix == ".jpg":
            cv2.imwrite(str(path), frames[0])
        elif path.suffix == ".json":
            path.write_text(json.dumps([{"points": [[10, 10], [300, 10], [300, 300], [10, 300]]}]), encoding="utf-8")
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                for i, frame in enumerate(frames[:4]):
                    archive.writestr(f"{path.stem}/{i}.jpg", cv2.imencode(".jpg", frame)[1].tobytes())


def draw(seed: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Draw bright rectangles on noise.

    Args:
        seed (int): Another image for each.
        count (int): Rectangles.

    Returns:
        image (np.ndarray): BGR image (H, W, 3) of bytes.
        boxes (np.ndarray): Boxes (count, 4) as x1, y1, x2, y2 in pixels.
    """
    rng, (h, w) = np.random.default_rng(seed), SIZE
    image = rng.integers(60, 120, (h, w, 3), dtype=np.uint8)
    low = rng.uniform((2, 2), (w * 0.6, h * 0.6), (count, 2))
    boxes = np.concatenate([low, low + rng.uniform((20, 16), (w * 0.38, h * 0.38), (count, 2))], 1)
    for x1, y1, x2, y2 in boxes.astype(int).tolist():
        cv2.rectangle(image, (x1, y1), (x2, y2), rng.integers(130, 256, 3).tolist(), -1)
    return image, boxes


def draw_boxes(root: Path, classes: int, label: Label, channels: int = 3, splits: Sequence[str] = SPLITS) -> None:
    """Draw a set of labelled objects."""
    for number, split in enumerate(splits):
        images, labels = make(root / "images" / split), make(root / "labels" / split)
        for i in range(COUNT):
            seed = number * COUNT + i
            image, boxes = draw(seed)
            if channels == 3:
                cv2.imwrite(str(images / f"{i:012d}.jpg"), image)
            else:
                cv2.imwritemulti(str(images / f"{i:012d}.tiff"), [image[..., c % 3] for c in range(channels)])
            lines = [label((seed + j) % classes, box) for j, box in enumerate(boxes)]
            (labels / f"{i:012d}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw_masks(root: Path) -> None:
    """Draw a set for semantic segmentation, with the raw ids of Cityscapes (7 is road, 26 is car)."""
    for number, split in enumerate(SPLITS):
        images, masks = make(root / "images" / split), make(root / "masks" / split)
        for i in range(COUNT):
            image, boxes = draw(number * COUNT + i)
            mask = np.full(SIZE, 7, np.uint8)
            for x1, y1, x2, y2 in boxes.astype(int):
                mask[y1:y2, x1:x2] = 26
            cv2.imwrite(str(images / f"{i}.png"), image)
            cv2.imwrite(str(masks / f"{i}.png"), mask)


def draw_depths(root: Path) -> None:
    """Draw a set for depth: 16-bit maps in millimetres, the objects nearer than the ground behind them."""
    for number, split in enumerate(SPLITS):
        images, depths = make(root / "images" / split), make(root / "depth" / split)
        for i in range(COUNT):
            image, boxes = draw(number * COUNT + i)
            depth = np.repeat(np.linspace(8000, 2000, SIZE[0])[:, None], SIZE[1], 1).astype(np.uint16)
            for x1, y1, x2, y2 in boxes.astype(int):
                depth[y1:y2, x1:x2] = 1500
            cv2.imwrite(str(images / f"{i}.jpg"), image)
            cv2.imwrite(str(depths / f"{i}.png"), depth)


def draw_classes(root: Path) -> None:
    """Draw a set for classification: ten folders of two images a split."""
    for number, split in enumerate(SPLITS):
        for k in range(10):
            folder = make(root / split / f"n{k:08d}")
            for i in range(2):
                cv2.imwrite(str(folder / f"{i}.jpg"), draw(40 * number + 2 * k + i)[0])


def make(folder: Path) -> Path:
    """Make a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def as_box(kind: int, box: np.ndarray) -> str:
    """Write a box: class, centre, width and height as shares of the image."""
    (h, w), (x1, y1, x2, y2) = SIZE, box
    return line(kind, [(x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h])


def as_corners(kind: int, box: np.ndarray) -> str:
    """Write the four corners, which are a polygon or an oriented box."""
    (h, w), (x1, y1, x2, y2) = SIZE, box
    return line(kind, [x1 / w, y1 / h, x2 / w, y1 / h, x2 / w, y2 / h, x1 / w, y2 / h])


def as_pose(kind: int, box: np.ndarray) -> str:
    """Write a box and 17 visible points on its diagonal."""
    (h, w), (x1, y1, x2, y2) = SIZE, box
    points = [v for t in np.linspace(0.1, 0.9, 17) for v in ((x1 + t * (x2 - x1)) / w, (y1 + t * (y2 - y1)) / h, 2)]
    return f"{as_box(kind, box)} {line(kind, points).partition(' ')[2]}"


def line(kind: int, values: Sequence[float]) -> str:
    """Write one label."""
    return " ".join([str(kind), *(f"{v:.6f}" for v in values)])
