"""Every task with every term that is known by name, and with the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from task_sets import NAMES, draw_set

from matrices.cell import Cell, run, write_teacher
from matrices.table import grid
from ultralytics.distill.losses import FEATURE, RELATION, RESPONSE

MODELS = {  # student and teacher, one size apart
    "detect": ("yolo11n.yaml", "yolo11s.yaml"),
    "segment": ("yolo11n-seg.yaml", "yolo11s-seg.yaml"),
    "pose": ("yolo11n-pose.yaml", "yolo11s-pose.yaml"),
    "obb": ("yolo11n-obb.yaml", "yolo11s-obb.yaml"),
    "classify": ("yolo11n-cls.yaml", "yolo11s-cls.yaml"),
    "semantic": ("yolo26n-sem.yaml", "yolo26s-sem.yaml"),
    "depth": ("yolo26n-depth.yaml", "yolo26s-depth.yaml"),
}
KINDS = {"distill_feat": FEATURE, "distill_logit": RESPONSE, "distill_rel": RELATION}
ROWS = ["auto", *(name for losses in KINDS.values() for name in losses)]
COLUMNS = list(MODELS)
IMGSZ, IMAGES, BATCH = 64, 8, 4


def cells(folder: Path, rows: Sequence[str], columns: Sequence[str], more: bool = True) -> Iterator[Cell]:
    """Yield the cells, row by row.

    Args:
        folder (Path): For the drawn sets, the teachers and the runs.
        rows (Sequence[str]): Terms, or `auto`.
        columns (Sequence[str]): Tasks.
        more (bool): Whether what is beside the grid follows; here nothing is.
    """
    for term in rows:
        for task in columns:
            student, teacher = MODELS[task]
            data = folder / task / "data.yaml"
            path = str(data.parent if task == "classify" else data)
            if not data.parent.exists():
                path = draw_set(task, data.parent, IMAGES, 4, IMGSZ)
            names = {"semantic": ("wall", *NAMES), "depth": ("depth",), "classify": tuple(sorted(NAMES))}.get(
                task, NAMES
            )
            extra = {"data_kpt_shape": (3, 3)} if task == "pose" else {}
            file = write_teacher(teacher, dict(enumerate(names)), folder / f"teachers/{task}.pt", IMGSZ, **extra)
            arguments = {"data": path, "imgsz": IMGSZ, "batch": BATCH, "device": "cpu", "model_t": str(file)}
            yield run(term, task, student, folder, **arguments, **chosen(term))


def chosen(term: str) -> dict[str, str]:
    """Return the arguments that take one term alone, or nothing for the recipe."""
    if term == "auto":
        return {}
    return {argument: term if term in losses else "none" for argument, losses in KINDS.items()}


def page(cells: Sequence[Cell]) -> str:
    """Return the cells as a page; what a single term was computed on goes without saying."""
    told = [replace(c, says="") if c.outcome == "works" and c.row != "auto" else c for c in cells]
    models = "; ".join(f"{t[:-5]} teaches {s[:-5]}" for s, t in MODELS.values())
    images, steps = f"{IMAGES} drawn images of {IMGSZ} pixels", IMAGES // BATCH
    return f"""# Task x term

Each cell is a short real run on a CPU: {images} with labels of the task's kind, {steps} steps, random
weights. It says that the term trains, not how much is gained; a single term was computed at every level or branch that
both models have. `auto` is the recipe, and the number stands for its terms. A refused term ends the run before its
first step, with the sentence that the number stands for.

    python scripts/matrix.py tasks --out docs/results

{grid(told, "term")}

The models: {models}.
"""
