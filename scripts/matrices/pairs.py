"""Every student family with every teacher family, by the recipe and a feature term beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo import prepare
from demo.drawing import CLASSES
from matrices.cell import Cell, grid, write_teacher

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
SIZES = {"26x": "yolo26x.yaml", "v9e": "yolov9e.yaml", "v8-p2": "yolov8n-p2.yaml", "v8-p6": "yolov8n-p6.yaml"}
MORE = [("26", "26x"), ("v8", "v9e"), ("v8", "v8-p2"), ("v8-p2", "v8-p6"), ("v8-p6", "v8-p2"), ("v8-p6", "v8-p6")]
ROWS = COLUMNS = list(FAMILIES)
IMGSZ = 128  # RT-DETR picks 300 queries, so the maps must have as many cells
IMAGES, BATCH = 4, 2


def setup(folder: Path, student: str, teacher: str) -> tuple[str, dict[str, Any]]:
    """Return the student's YAML and the arguments of a cell's training; the images are drawn once."""
    yamls = {**FAMILIES, **SIZES}
    data = prepare(folder / "data", IMGSZ, IMAGES, 2)
    file = write_teacher(yamls[teacher], dict(enumerate(CLASSES)), folder / f"teachers/{teacher}.pt", IMGSZ)
    # by itself the recipe has no feature term where predictions can be compared
    return yamls[student], {"data": data, "imgsz": IMGSZ, "batch": BATCH, "model_t": str(file), "distill_feat": "cwd"}


def page(cells: Sequence[Cell]) -> str:
    """Return the cells as a page."""
    sizes = ", ".join(y[: -len(".yaml")] for y in FAMILIES.values())
    return f"""# Student family <- teacher family

Each cell is a short real run by the recipe and `distill_feat=cwd`, on a CPU: {IMAGES} drawn images of {IMGSZ} pixels, {IMAGES // BATCH} steps, random weights.
It says that the pair trains and with which terms, not how much is gained. The number stands for the terms that
were computed, with their levels or branches; the recipe's others do not fit the two heads and were left out with a line
in the log. Every family is there at its smallest size: {sizes}. The last rows and columns
have other sizes and levels, a few pairs of them.

    python scripts/matrix.py pairs --out docs/results

{grid(cells, "student <- teacher")}
"""  # noqa: E501  # a row of a table stands on one line
