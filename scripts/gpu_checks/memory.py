"""Checks (c), (f) and (g): memory does not grow, auto-batch counts what a step takes, and running out is survived."""

from __future__ import annotations

import gc
import math
from typing import Any

import torch
from soak import census

from gpu_checks.running import Skip
from gpu_checks.stage import Enough, Stage, need, step_of

GROWTH = 1.0  # MiB on the GPU between two looks at a step's start, when no batch is there
OOM = "CUDA out of memory"


def flat_memory(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(c) Look at what is held four times in a run, with images of one size and of several."""
    steps = 40 if stage.small else 200
    figures, said = {}, []
    for name, more in (("fixed", {}), ("multi-scale", {"multi_scale": 0.5})):
        looks: list[dict[str, float]] = []
        seen = {"steps": 0}

        def look(trainer: Any, seen: dict[str, int] = seen, looks: list[dict[str, float]] = looks) -> None:
            seen["steps"] += 1
            if seen["steps"] % (steps // 4) == 0:
                gc.collect()
                held = torch.cuda.memory_allocated() / 2**20 if stage.cuda else 0.0
                peak = torch.cuda.max_memory_allocated() / 2**20 if stage.cuda else 0.0
                looks.append({**census(), "device": held, "peak": peak})
                if stage.cuda:
                    torch.cuda.reset_peak_memory_stats()

        stage.train(f"c-{name}", steps + 1, {"on_train_batch_start": look}, distill_feat="[cwd,mgd]", **more)
        need(len(looks) == 4, f"{name}: {len(looks)} looks of 4")
        first, last = looks[1], looks[-1]  # the first quarter warms up
        grown = {k: last[k] - first[k] for k in ("device", "tensors", "hooks")}
        figures[name] = looks
        said.append(f"{name} {grown['device']:+.2f} MiB, {grown['tensors']:+.0f} tensors, peak {last['peak']:.0f} MiB")
        need(grown["device"] <= GROWTH and grown["tensors"] <= 0 and grown["hooks"] <= 0, f"{said[-1]}: it grows")
    return f"{steps // 2} steps: {'; '.join(said)}", figures


def auto_batch(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(f) Let auto-batch choose, and train 30 steps with that."""
    if not stage.cuda:
        raise Skip("auto-batch measures a GPU's memory")
    seen = {"steps": 0}

    def count(trainer: Any) -> None:
        seen["steps"] += 1
        if seen["steps"] == 30:
            raise Enough

    torch.cuda.reset_peak_memory_stats()
    size = {"batch": -1, "images": 30 * 1024, "imgsz": 640, "distill_feat": "[cwd,mgd]"}
    trainer = stage.train("f", 30, {"on_train_batch_end": count}, mosaic=0.0, **size)
    share = torch.cuda.max_memory_reserved() / torch.cuda.get_device_properties(0).total_memory
    figures = {"batch": trainer.batch_size, "share": share, "retries": trainer._oom_retries}
    need(seen["steps"] == 30 and not trainer._oom_retries, f"memory ran out {trainer._oom_retries} times: {figures}")
    return f"batch {trainer.batch_size}, 30 steps, {share:.0%} of the memory taken (60% is asked for)", figures


def out_of_memory(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(g) Run out of memory inside the terms of step 6; on a CPU the error is raised in its place."""
    sizes: list[int] = []

    def fail(module: Any, args: tuple) -> None:
        sizes.append(len(args[2]["img"]))
        if len(sizes) == 6:
            if not stage.cuda:
                raise RuntimeError(OOM)
            torch.empty(1 << 50, dtype=torch.uint8, device=stage.torch_device)

    def hook(trainer: Any) -> None:
        step_of(trainer).distiller.register_forward_pre_hook(fail)

    trainer = stage.train("g", 10, {"on_train_start": hook}, distill_feat="[cwd,mgd]")
    whole, rest = sizes[:6], sizes[6:]
    need(rest and set(rest) == {whole[0] // 2}, f"batches after it: {sorted(set(rest))}, before it {whole[0]}")
    row = stage.rows("g")[-1]
    need(all(math.isfinite(v) for k, v in row.items() if k.startswith("train/")), f"a loss is no number: {row}")
    left = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in trainer.ema.ema.modules())
    need(not left, f"{left} hooks are left")
    figures = {"before": whole[0], "after": rest[0], "steps": len(rest), "retries": trainer._oom_retries}
    return f"batch {whole[0]}, then {rest[0]} for {len(rest)} steps, no hook left", figures
