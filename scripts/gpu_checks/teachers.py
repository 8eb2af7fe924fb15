"""Checks (a) and (b): the fast teacher shows what the plain one in float32 shows, and teaches the same."""

from __future__ import annotations

import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from benchmarking.ways import Way, make_batch
from gpu_checks.stage import Stage, build, need, warm
from ultralytics.distill.graph import head_inputs, run_layers
from ultralytics.distill.teacher.foreign import tensors
from ultralytics.distill.teacher.frozen import Teacher
from ultralytics.distill.teacher.source import Source
from ultralytics.distill.teacher.speed import choose_dtype
from ultralytics.distill.upstream import unwrap_model

LIMIT = 0.01  # of a map or an output
STEP = 0.02  # of a whole gradient, through student and terms


def exact() -> None:
    """Let float32 be float32 on this GPU: TF32 keeps ten bits."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


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
    exact()
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
    exact()
    found = []
    for more in ({}, {"distill_precision": "fp32"}):
        torch.manual_seed(0)
        options = stage.options(terms={"distill_feat": "cwd", **more}, imgsz=64 if stage.small else 320)
        way = Way("ours", build(str(stage.folder / "student.yaml")), stage.folder / "teacher.pt", options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = way.losses(make_batch(6, options))
        loss.sum().backward()
        grads = [p.grad.flatten() for p in unwrap_model(way.model).parameters() if p.grad is not None]
        found.append((loss.detach(), torch.cat(grads)))
    (loss, grad), (loss32, grad32) = found
    figures = {"loss": difference(loss, loss32), "gradient": difference(grad, grad32)}
    said = f"loss {figures['loss']:.3%}, gradient {figures['gradient']:.3%} apart"
    need(figures["loss"] <= LIMIT and figures["gradient"] <= STEP, f"{said}, more than {LIMIT:.0%} or {STEP:.0%}")
    return said, figures
