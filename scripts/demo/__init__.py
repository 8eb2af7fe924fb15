# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The demo's data and models: a drawn detection set in YOLO format, and two YOLOv8 of unlike width."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import cv2
import numpy as np

from ultralytics.distill.upstream import load_yaml, save_yaml
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.checks import check_yaml

from . import drawing


def prepare(folder: str | Path, imgsz: int | list[int] = 128, train: int = 640, val: int = 160) -> str:
    """Put the demo's data, `student.yaml` and `teacher.yaml` into a folder, unless they are there from an earlier run.

    The images have a side of `imgsz` pixels, of two the longer. Under a launcher the first process draws and the others
    wait. The path of the `data.yaml` is returned.
    """
    folder, side = Path(folder), imgsz if isinstance(imgsz, int) else max(imgsz)
    code = hashlib.sha256(Path(drawing.__file__).read_bytes()).hexdigest()[:12]
    size = f"{train} + {val} images of {side} pixels"
    file, made = folder / "data.yaml", f"{size} by {code}"

    def done() -> bool:
        return file.is_file() and (load_yaml(file) or {}).get("made") == made

    while RANK > 0 and not done():
        time.sleep(0.5)
    if not done():
        LOGGER.info(f"Demo: drawing {size} into {folder}")
        write_model(folder / "student.yaml", width=0.125)
        write_model(folder / "teacher.yaml", width=0.25)
        draw_dataset(folder, train, val, side, made=made)
    return str(file)


def draw_dataset(folder: str | Path, train: int, val: int, imgsz: int = 128, seed: int = 0, made: str = "") -> Path:
    """Draw a detection set of square images in YOLO format and return its `data.yaml`, which is written last.

    Each image comes from a generator of its own, so the first images stay the same when more are asked for. An earlier
    set in the folder is replaced. `made` is a note for the `data.yaml`.
    """
    folder = Path(folder)
    (folder / "data.yaml").unlink(missing_ok=True)
    for part, (split, count) in enumerate((("train", train), ("val", val))):
        images, labels = folder / "images" / split, folder / "labels" / split
        for kept in (images, labels):
            kept.mkdir(parents=True, exist_ok=True)
            for old in kept.glob("[0-9][0-9][0-9][0-9].*"):  # of a larger set
                old.unlink()
        for i in range(count):
            image, rows = drawing.draw_image(np.random.default_rng([seed, part, i]), imgsz)
            cv2.imwrite(str(images / f"{i:04d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
            text = "".join(f"{int(c)} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for c, x, y, w, h in rows)
            (labels / f"{i:04d}.txt").write_text(text)
    data = {"train": "images/train", "val": "images/val", "names": dict(enumerate(drawing.CLASSES)), "made": made}
    save_yaml(folder / "data.yaml", data)
    return folder / "data.yaml"


def write_model(file: str | Path, width: float) -> Path:
    """Write the YAML of a YOLOv8 with the depth of n and another width than n, s, m, l and x have; return the file."""
    model = load_yaml(check_yaml("yolov8.yaml"))
    model.pop("scales")
    save_yaml(file, {**model, "depth_multiple": 0.33, "width_multiple": width})
    return Path(file)
