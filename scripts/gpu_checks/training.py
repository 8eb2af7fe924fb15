"""Checks (e), (h) and (j): overflows, a compiled student, and a run that was killed."""

from __future__ import annotations

import math
import signal
from typing import Any

import torch

from gpu_checks.stage import Stage, need, step_of
from gpu_checks.worker import launch
from ultralytics.distill.upstream import unwrap_model
from ultralytics.engine import trainer as upstream

SCALE = 2.0**40  # overflows in 16 bits, and is halved to a scale that does not within the run's 60 steps


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
        found[name] = stage.rows(f"h-{name}")[-1]
    need(trainer.args.compile, "compile was switched off")
    losses = [k for k in found["eager"] if k.startswith("train/")]
    apart = {k: abs(found["compiled"][k] - found["eager"][k]) / max(abs(found["eager"][k]), 1e-6) for k in losses}
    said = ", ".join(f"{k[6:]} {v:.2%}" for k, v in apart.items())
    need(max(apart.values()) < 0.1, f"losses apart: {said}")
    return f"losses apart after an epoch: {said}", apart


def _graph_only(model: Any, device: Any = None, mode: Any = None, **_: Any) -> Any:
    """Compile a model as far as its graph."""
    return torch.compile(model, backend="aot_eager") if mode else model


def killed(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(j) Kill a run in its second epoch and resume it."""
    steps, epochs = 3 if stage.small else 10, 3
    arguments = stage.arguments("j", steps, epochs=epochs, distill_feat="mgd", val=False)
    done = launch(str(stage.folder / "student.yaml"), arguments, kill=steps + 2)
    need(done == -signal.SIGKILL, f"the run ended with code {done} and not by the kill")
    last = stage.folder / "runs/j/weights/last.pt"
    saved = torch.load(last, map_location="cpu", weights_only=False)
    need(saved["epoch"] == 0 and "distill" in saved, f"the checkpoint is of epoch {saved['epoch']}")
    done = launch(str(last), {"resume": True, "device": stage.device})
    need(done == 0, f"the resumed run ended with code {done}")
    rows = stage.rows("j")
    need([r["epoch"] for r in rows] == [1, 2, 3], f"epochs in results.csv: {[r['epoch'] for r in rows]}")
    need(all(r["train/dfea_loss"] > 0 for r in rows), "an epoch has no term")
    values = [r["train/dfea_loss"] for r in rows]
    said = ", ".join(f"{v:.3g}" for v in values)
    return f"killed in epoch 2, ended with {epochs} epochs, dfea {said}", {"dfea": values}
