# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Small models of any task, some of which look trained, and their checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from lines import skip_missing
from torch import nn

from ultralytics.cfg import get_cfg
from ultralytics.nn import tasks

NAMES = {0: "circle", 1: "square", 2: "stripe"}
MODELS = {
    "detect": tasks.DetectionModel,
    "segment": tasks.SegmentationModel,
    "pose": tasks.PoseModel,
    "obb": tasks.OBBModel,
    "semantic": getattr(tasks, "SemanticSegmentationModel", None),  # 8.3 has neither this nor the next
    "depth": getattr(tasks, "DepthModel", None),
    "classify": tasks.ClassificationModel,
}


def shrink(name: str, width: float | None) -> dict:
    """Return one of upstream's YAMLs at depth 0.33 and a width of one's own, or at its own scale for None."""
    try:
        cfg = tasks.yaml_model_load(name)
    except FileNotFoundError:
        skip_missing(name)
    if width is not None:
        cfg.update(scales={"n": [0.33, width, 1024]}, scale="n")
    if "rtdetr" in name:
        cfg["head"][-1][-1] = ["nc", 64, 30, 4, 4, 2, 128]  # a decoder of 30 queries and two layers
    return cfg


def move_statistics(model: nn.Module) -> nn.Module:
    """Give every BatchNorm weights, biases and running statistics that are far from fresh, as training would."""
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            for x, low, high in ((m.weight, 0.7, 1.3), (m.bias, -0.3, 0.3), (m.running_var, 0.5, 1.5)):
                nn.init.uniform_(x, low, high)
            nn.init.normal_(m.running_mean, std=0.2)
            m.num_batches_tracked += 100
    return model


def build_model(
    name: str = "yolov8n.yaml", nc: int = 3, width: float | None = 0.125, seed: int = 0, trained: bool = False, **cfg
):
    """Build a model of any task from one of upstream's YAMLs, small, seeded, with `names` and `args`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        cfg = {**shrink(name, width), **cfg}
        task = tasks.guess_model_task(cfg)
        kind = tasks.RTDETRDetectionModel if "rtdetr" in name else MODELS[task]
        model = kind(cfg, nc=nc, verbose=False)
        model = move_statistics(model) if trained else model
    model.args, model.task, model.nc = get_cfg(), task or "detect", nc  # upstream guesses none for RT-DETR
    model.names = dict(list(NAMES.items())[:nc]) if nc <= len(NAMES) else {i: f"thing {i}" for i in range(nc)}
    return model


def save_model(model: nn.Module, path: Path) -> Path:
    """Write a checkpoint in the form of upstream's stripped `best.pt`."""
    ckpt = {"epoch": -1, "model": model.half(), "train_args": {"task": model.task, "imgsz": 64}, "ema": None}
    torch.save(ckpt, path)
    model.float()
    return path
