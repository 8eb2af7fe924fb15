"""Every task with every term that is known by name, and with the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from task_sets import NAMES, draw_set

from matrices.cell import Cell, grid, write_teacher
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
MORE: list[tuple[str, str]] = []  # nothing beside the grid
IMGSZ, IMAGES, BATCH = 64, 8, 4


def setup(folder: Path, term: str, task: str) -> tuple[str, dict[str, Any]]:
    """Return the student's YAML and the arguments of a cell's training; a task's images are drawn once."""
    student, teacher = MODELS[task]
    data = folder / task
    if not data.exists():
        draw_set(task, data, IMAGES, 4, IMGSZ)
    own = {"semantic": ("wall", *NAMES), "depth": ("depth",), "classify": tuple(sorted(NAMES))}
    extra = {"data_kpt_shape": (3, 3)} if task == "pose" else {}
    names = dict(enumerate(own.get(task, NAMES)))
    file = write_teacher(teacher, names, folder / f"teachers/{task}.pt", IMGSZ, **extra)
    chosen = {argument: term if term in losses else "none" for argument, losses in KINDS.items()}
    arguments = {"data": str(data if task == "classify" else data / "data.yaml"), "imgsz": IMGSZ, "batch": BATCH}
    return student, {**arguments, "model_t": str(file), **(chosen if term != "auto" else {})}


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
