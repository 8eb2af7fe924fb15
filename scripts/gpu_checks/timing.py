"""Checks (d) and (k): what a step costs, and what the looks before and after a run cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarking.measure import time_ways
from benchmarking.report import rows
from benchmarking.ways import Way, make_batch
from gpu_checks.stage import Stage, build, need
from matrices.cell import write_teacher
from ultralytics.distill.report import summary
from ultralytics.distill.teacher import evaluation

WAYS = ("plain", "native", "ours", "floor")
NATIVE, FLOOR = 0.80, 1.05  # the most that ours may take of native's time, and of the floor's
SECONDS = 12.0


def step_time(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(d) Time a step four ways in turns; on a CPU the targets of a GPU are not held against it."""
    pairs = [("yolov8n", "yolov8s")] if stage.small else [("yolo26n", "yolo26m"), ("yolov8n", "yolov8x")]
    figures, said, slow = {}, [], []
    for student, teacher in pairs:
        file = write_teacher(f"{teacher}.yaml", dict(enumerate("abcdef")), stage.folder / f"{teacher}.pt", 64)
        for batch in (2,) if stage.small else (16, 64):
            name = f"{student} <- {teacher}, batch {batch}"
            try:
                found = {x["way"]: x for x in _rows(stage, student, file, batch)}
            except torch.cuda.OutOfMemoryError:
                said.append(f"{name}: memory is too small")
                torch.cuda.empty_cache()
                continue
            ours, figures[name] = found["ours"], found
            times = ", ".join(f"{w} {found[w]['ms']:.1f}" for w in WAYS)
            said.append(f"{name}: {times} ms, {ours['by_native']:.2f} of native, {ours['by_floor']:.2f} of the floor")
            slow += [name] * (ours["by_native"] > NATIVE or ours["by_floor"] > FLOOR)
    text = "; ".join(said)
    need(figures, text)
    need(stage.small or not slow, f"{text}; the most is {NATIVE:.2f} and {FLOOR:.2f}")
    return text, figures


def _rows(stage: Stage, student: str, teacher: Path, batch: int) -> list[dict[str, Any]]:
    """Time one pair at one batch size."""
    options = stage.options(batch=batch)
    model = build(f"{student}.yaml")
    ways = {name: Way(name, model, teacher, options) for name in WAYS}
    times = time_ways(ways, make_batch(6, options), steps=3 if stage.small else 40, seconds=SECONDS)
    return rows(times, {})


def looks(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(k) Time the first look and the report, and train with the student's own average."""
    figures: dict[str, dict[str, float]] = {}

    def watched(name: str, function: Callable) -> Callable:
        def run(*args: Any, **kwargs: Any) -> Any:
            if stage.cuda:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            began = time.perf_counter()
            result = function(*args, **kwargs)
            peak = torch.cuda.max_memory_allocated() / 2**20 if stage.cuda else 0.0
            figures[name] = {"seconds": time.perf_counter() - began, "MiB": peak}
            return result

        return run

    evaluation.validate_model, summary.write = (
        watched("first look", evaluation.validate_model),
        watched("report", summary.write),
    )
    stage.train("k", 4, plots=True, val=True, distill_check=True)
    need("first look" in figures and "report" in figures, f"only {sorted(figures)} ran")
    need((stage.folder / "runs/k/distill.png").is_file(), "distill.png was not written")
    watched("own average", lambda: stage.train("k-ema", 4, model_t="ema", distill_feat="cwd"))()
    row = stage.rows("k-ema")[-1]
    need(row["train/dfea_loss"] > 0, f"the average taught nothing: {row}")
    return ", ".join(f"{k} {v['seconds']:.1f} s, {v['MiB']:.0f} MiB" for k, v in figures.items()), figures
