# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Small stand-ins for the data sets, videos and archives that upstream's tests look for, drawn on the spot."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from task_sets import draw_set

SETS = {"coco8": "detect", "coco8-grayscale": "detect", "coco8-multispectral": "detect", "coco128": "detect"}
SETS |= {"coco8-seg": "segment", "coco128-seg": "segment", "coco8-pose": "pose", "dota8": "obb"}
SETS |= {"cityscapes8": "semantic", "depth8-png": "depth", "imagenet10": "classify"}  # upstream's name -> task
MORE: dict[str, dict[str, Any]] = {
    "coco8-pose": {"names": ("person",), "points": 17},
    "imagenet10": {"names": tuple(f"n{k:08d}" for k in range(10)), "train": 20, "val": 20},
}


def draw_datasets(folder: Path) -> None:
    """Draw every set, under upstream's names, into what `datasets_dir` of upstream's settings names."""
    for name, task in SETS.items():
        draw_set(task, folder / name, **{"train": 4, "imgsz": 96, **MORE.get(name, {})})
    for part in (folder / name / kind for name in ("coco128", "coco128-seg") for kind in ("images", "labels")):
        (part / "train").rename(part / "train2017")
    for file in (folder / "cityscapes8/masks").rglob("*.png"):
        mask = np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
        cv2.imwrite(str(file), np.where(mask > 0, 26, 7).astype(np.uint8))  # raw ids of Cityscapes: car and road
    for file in (folder / "coco8-multispectral/images").rglob("*.png"):
        image = np.asarray(cv2.imread(str(file)))
        cv2.imwritemulti(str(file.with_suffix(".tiff")), [image[..., c % 3] for c in range(10)])
        file.unlink()


def draw_videos(folder: Path, names: Sequence[str]) -> None:
    """Draw the solutions' assets by their names: short videos, a picture, regions, and an archive of pictures."""
    draw_set("detect", folder / "frames", train=6)
    drawn = sorted((folder / "frames/images/train").iterdir())
    frames = [cv2.resize(np.asarray(cv2.imread(str(x))), (640, 360)) for x in drawn]
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
