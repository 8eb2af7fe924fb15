"""Every student family with every teacher family, by the recipe and a feature term beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from demo import draw_dataset
from demo.drawing import CLASSES
from matrices.cell import Cell, run, write_teacher
from matrices.table import grid, listing

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
ROWS = COLUMNS = list(FAMILIES)
IMGSZ = 128  # RT-DETR picks 300 queries, so the maps must have as many cells
IMAGES, BATCH = 4, 2


def cells(folder: Path, rows: Sequence[str], columns: Sequence[str], more: bool = True) -> Iterator[Cell]:
    """Yield the cells, row by row.

    Args:
        folder (Path): For the drawn images, the teachers and the runs.
        rows (Sequence[str]): Students, names in FAMILIES.
        columns (Sequence[str]): Teachers, names in FAMILIES.
        more (bool): Whether the pairs of other sizes and levels follow.
    """
    data = draw_dataset(folder / "data", IMAGES, 2, IMGSZ)
    yamls = {**FAMILIES, **MORE}
    pairs = [(s, t) for s in rows for t in columns] + MORE_PAIRS * more
    for s, t in pairs:
        teacher = write_teacher(yamls[t], dict(enumerate(CLASSES)), folder / f"teachers/{t}.pt", IMGSZ)
        arguments = {"data": str(data), "imgsz": IMGSZ, "batch": BATCH, "device": "cpu", "model_t": str(teacher)}
        arguments["distill_feat"] = "cwd"  # by itself the recipe has none where predictions can be compared
        yield run(s, t, yamls[s], folder, **arguments)


def page(cells: Sequence[Cell]) -> str:
    """Return the cells as a page."""
    families = [c for c in cells if c.row in FAMILIES]
    others = [c for c in cells if c.row not in FAMILIES]
    sizes = ", ".join(y[: -len(".yaml")] for y in FAMILIES.values())
    return f"""# Student family <- teacher family

Each cell is a short real run by the recipe and `distill_feat=cwd`, on a CPU: {IMAGES} drawn images of {IMGSZ} pixels, {IMAGES // BATCH} steps, random weights.
It says that the pair trains and with which terms, not how much is gained. The number stands for the terms that
were computed, with their levels or branches; the recipe's others do not fit the two heads and were left out with a line
in the log. Every family is there at its smallest size: {sizes}.

    python scripts/matrix.py pairs --out docs/results

{grid(families, "student <- teacher")}

## Other sizes and levels

{listing(others, "student", "teacher")}
"""  # noqa: E501  # a row of a table stands on one line
