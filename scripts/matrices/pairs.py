"""Every student family with every teacher family, by `model_t` alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from matrices.cell import Cell, run, write_teacher
from ultralytics.distill.demo import draw_dataset
from ultralytics.distill.drawing import CLASSES

FAMILIES = {  # each at its smallest size
    "v3u": "yolov3-tiny.yaml",
    "v5u": "yolov5n.yaml",
    "v6": "yolov6n.yaml",
    "v8": "yolov8n.yaml",
    "v9": "yolov9t.yaml",
    "v10": "yolov10n.yaml",
    "11": "yolo11n.yaml",
    "12": "yolo12n.yaml",
    "26": "yolo26n.yaml",
    "RT-DETR": "rtdetr-l.yaml",
}
MORE = {  # other sizes and other levels
    "26n": "yolo26n.yaml",
    "26x": "yolo26x.yaml",
    "v8n": "yolov8n.yaml",
    "v8n-p2": "yolov8n-p2.yaml",
    "v8n-p6": "yolov8n-p6.yaml",
    "v9e": "yolov9e.yaml",
}
MORE_PAIRS = [("26n", "26x"), ("v8n", "v9e"), ("v8n", "v8n-p2"), ("v8n-p2", "v8n-p6"), ("v8n-p6", "v8n-p2"),
              ("v8n-p6", "v8n-p6")]  # fmt: skip
IMGSZ = 128  # RT-DETR picks 300 queries, so the maps must have as many cells
IMAGES, BATCH = 4, 2


def cells(folder: Path, students: list[str], teachers: list[str], more: bool = True) -> Iterator[Cell]:
    """Yield the cells, row by row.

    Args:
        folder (Path): For the drawn images, the teachers and the runs.
        students (list[str]): Names in FAMILIES.
        teachers (list[str]): Names in FAMILIES.
        more (bool): Whether the pairs of other sizes and levels follow.
    """
    data = draw_dataset(folder / "data", IMAGES, 2, IMGSZ)
    yamls = {**FAMILIES, **MORE}
    pairs = [(s, t) for s in students for t in teachers] + MORE_PAIRS * more
    for s, t in pairs:
        teacher = write_teacher(yamls[t], dict(enumerate(CLASSES)), folder / f"teachers/{t}.pt", IMGSZ)
        arguments = {"data": str(data), "imgsz": IMGSZ, "batch": BATCH, "device": "cpu", "model_t": str(teacher)}
        yield run(s, t, yamls[s], folder, **arguments)
