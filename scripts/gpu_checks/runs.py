"""Checks (c) and (e) to (h): memory is flat and its end survived, auto-batch, overflows, a compiled student."""

from __future__ import annotations

import gc
import math
from typing import Any

import torch
from soak import census

from gpu_checks.stage import Enough, Skip, Stage, need, step_of
from ultralytics.distill.upstream import unwrap_model
from ultralytics.engine import trainer as upstream

GROWTH = 1.0  # MiB on the GPU between two looks at a step's start, when no batch is there
OOM = "CUDA out of memory"
SCALE = 2.0**40  # overflows in 16 bits, and is halved to a scale that does not within the run's 60 steps


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
    losses = {k: v for k, v in stage.columns("g").items() if k.startswith("train/")}
    need(all(map(math.isfinite, sum(losses.values(), []))), f"a loss is no number: {losses}")
    left = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in trainer.ema.ema.modules())
    need(not left, f"{left} hooks are left")
    figures = {"before": whole[0], "after": rest[0], "steps": len(rest), "retries": trainer._oom_retries}
    return f"batch {whole[0]}, then {rest[0]} for {len(rest)} steps, no hook left", figures


def overflow(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(e) Set the loss scale too high: steps are skipped, our weights' too, and the scale halved, as in plain runs."""
    if not stage.cuda:  # upstream scales on GPUs alone; the same scaler serves here
        real = torch.amp.GradScaler
        setattr(torch.amp, "GradScaler", lambda *_, **__: real("cpu", init_scale=2.0**10))  # noqa: B010  # mypy refuses to assign to it
    figures = {}
    for name in ("plain", "ours"):
        notes: list[dict[str, Any]] = []
        figures[name] = notes

        def before(trainer: Any, notes: list[dict[str, Any]] = notes, name: str = name) -> None:
            if len(notes) == 2:
                trainer.scaler._scale.fill_(math.inf if not stage.cuda else SCALE)
            if len(notes) == 3 and not math.isfinite(trainer.scaler.get_scale()):
                trainer.scaler._scale.fill_(2.0**10)
            notes.append({"scale": trainer.scaler.get_scale(), "weights": _weights(trainer, name)})

        def after(trainer: Any, notes: list[dict[str, Any]] = notes, name: str = name) -> None:
            now, then = _weights(trainer, name), notes[-1].pop("weights")
            notes[-1].update(moved=[not torch.equal(a, b) for a, b in zip(now, then)], then=trainer.scaler.get_scale())

        more = {} if name == "ours" else {"model_t": None, "distill_feat": "auto"}
        calls = {"on_train_batch_start": before, "on_train_batch_end": after}
        trainer = stage.train(f"e-{name}", 60, calls, **{"distill_feat": "mgd", "amp": stage.cuda, **more})
        need(all(torch.isfinite(w).all() for w in _weights(trainer, name)), f"{name}: weights are no numbers")
    _judge(figures)
    skipped = {k: sum(not x["moved"][0] for x in v) for k, v in figures.items()}
    return f"steps skipped: plain {skipped['plain']}, ours {skipped['ours']}; mgd's weights with them", figures


def _judge(figures: dict[str, list[dict[str, Any]]]) -> None:
    """Raise unless both ways skip exactly the steps in which the scale falls, with all their weights."""
    for name, notes in figures.items():
        fell = [x["then"] < x["scale"] or not math.isfinite(x["scale"]) for x in notes]
        need(fell[2], f"{name}: the overflow was not seen")
        need(any(all(x["moved"]) for x in notes[3:]), f"{name}: no step was taken after the overflow")
        for i, (x, down) in enumerate(zip(notes, fell)):
            says = f"{name}: step {i} moved {x['moved']}, scale {x['scale']} -> {x['then']}"
            need(set(x["moved"]) == {not down}, says)
            ok = not down or x["then"] == x["scale"] / 2 or not math.isfinite(x["scale"])
            need(ok, says)


def _weights(trainer: Any, name: str) -> list[torch.Tensor]:
    """Return all of the student's weights as one, and those of the distiller."""
    modules = [unwrap_model(trainer.model)] + ([step_of(trainer).distiller] if name == "ours" else [])
    return [torch.cat([p.detach().flatten() for p in m.parameters() if p.requires_grad]).clone() for m in modules]


def compiled(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(h) Train with `compile=True` and without, from the same start on the same images."""
    if stage.small:  # the graph alone: generating code for a CPU takes minutes
        setattr(upstream, "attempt_compile", _graph_only)  # noqa: B010  # mypy refuses to assign to it
    found = {}
    for name, on in (("eager", False), ("compiled", True)):
        trainer = stage.train(f"h-{name}", 4 if stage.small else 20, compile=on)
        found[name] = {k: v[-1] for k, v in stage.columns(f"h-{name}").items()}
    need(trainer.args.compile, "compile was switched off")
    losses = [k for k in found["eager"] if k.startswith("train/")]
    apart = {k: abs(found["compiled"][k] - found["eager"][k]) / max(abs(found["eager"][k]), 1e-6) for k in losses}
    said = ", ".join(f"{k[6:]} {v:.2%}" for k, v in apart.items())
    need(max(apart.values()) < 0.1, f"losses apart: {said}")
    return f"losses apart after an epoch: {said}", apart


def _graph_only(model: Any, device: Any = None, mode: Any = None, **_: Any) -> Any:
    """Compile a model as far as its graph."""
    return torch.compile(model, backend="aot_eager") if mode else model
