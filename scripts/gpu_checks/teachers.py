"""Checks (a), (b), (d) and (k): the fast teacher shows what the plain one shows, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from benchmarking.measure import rows, time_ways
from benchmarking.ways import Way, make_batch
from gpu_checks.stage import Stage, build, need, warm
from matrices.cell import write_teacher
from ultralytics.distill.graph import head_inputs, run_layers
from ultralytics.distill.report import summary
from ultralytics.distill.teacher import evaluation
from ultralytics.distill.teacher.foreign import tensors
from ultralytics.distill.teacher.frozen import Teacher
from ultralytics.distill.teacher.source import Source
from ultralytics.distill.teacher.speed import choose_dtype

LIMIT = 0.01  # of a map or an output
STEP = 0.02  # of a whole gradient, through student and terms
WAYS = ("plain", "native", "ours", "floor")
NATIVE, FLOOR = 0.80, 1.05  # the most that ours may take of native's time, and of the floor's
SECONDS = 12.0


def difference(x: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the norm of the difference over the norm of the reference."""
    return ((x.float() - reference.float()).norm() / reference.float().norm().clamp(min=1e-12)).item()


def shown(seen: Any, ranked: bool) -> list[torch.Tensor]:
    """Return maps and outputs; of RT-DETR the sorted scores, since 16 bits may choose other queries of like score."""
    found = [x for x in tensors(seen.output) if x.is_floating_point()]
    if ranked:
        found = [x.flatten(1).sort(1).values for x in (found[1][-1], found[3])]
    return [*seen.maps.values(), *found]


def fast_teacher(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(a) Compare maps and raw outputs of three families."""
    stage.exact()
    names = ("yolov8n", "yolo26n", "yolov8n-rtdetr") if stage.small else ("yolov8m", "yolo26m", "rtdetr-l")
    device, worst = stage.torch_device, {}
    dtype = choose_dtype("auto", device, amp=True, bf16=False)
    for name in names:
        torch.manual_seed(0)
        model = build(f"{name}.yaml").to(device)
        if stage.cuda:
            model = model.to(memory_format=torch.channels_last)
        batch = make_batch(6, stage.options(imgsz=64 if stage.small else 320, batch=2 if stage.small else 4))
        warm(model, batch, steps=2 if stage.small else 8)
        layers = head_inputs(model)
        fast = Teacher(Source(model, Path("t.pt"), live=True), layers, True, False, device, dtype, student=model)
        plain = deepcopy(model).eval()
        plain.model[-1].training = True
        with torch.no_grad():
            both = fast(batch["img"]), run_layers(plain, batch["img"], layers, True)
        pairs = zip(*(shown(x, "rtdetr" in name) for x in both))
        worst[name] = max(difference(*p) for p in pairs)
    said = ", ".join(f"{k} {v:.2%}" for k, v in worst.items())
    need(max(worst.values()) <= LIMIT, f"{said}, more than {LIMIT:.0%}")
    return f"{str(dtype)[6:]}: {said} at most", {"worst": worst, "limit": LIMIT, "dtype": str(dtype)}


def equal_step(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(b) Compare loss and gradient of one step with the fast teacher and with one in float32."""
    fast, exact = stage.gradient(), stage.gradient(distill_precision="fp32")
    figures = {name: difference(*pair) for name, pair in zip(("loss", "gradient"), zip(fast, exact))}
    said = f"loss {figures['loss']:.3%}, gradient {figures['gradient']:.3%} apart"
    need(figures["loss"] <= LIMIT and figures["gradient"] <= STEP, f"{said}, more than {LIMIT:.0%} or {STEP:.0%}")
    return said, figures


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
    row = stage.columns("k-ema")
    need(row["train/dfea_loss"][-1] > 0, f"the average taught nothing: {row}")
    return ", ".join(f"{k} {v['seconds']:.1f} s, {v['MiB']:.0f} MiB" for k, v in figures.items()), figures
