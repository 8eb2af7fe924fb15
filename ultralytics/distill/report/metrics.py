# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What is measured of one trained model: size, time of an image, accuracy on a validation set."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ultralytics.distill.heads.common import outputs
from ultralytics.distill.inference import input_channels, model_args
from ultralytics.distill.teacher.evaluation import narrow
from ultralytics.distill.upstream import load_checkpoint, score_unfound, time_sync

if TYPE_CHECKING:
    from ultralytics import YOLO

METRICS = ("mAP", "accuracy", "mIoU", "delta1")  # how the names of what is compared begin


def load_fused(weights: str | Path, device: torch.device) -> nn.Module:
    """Load a model as it is deployed: in eval mode, with BatchNorm folded into the convolutions."""
    return load_checkpoint(weights)[0].to(device).float().eval().fuse(verbose=False)


def size(model: nn.Module, imgsz: Any) -> dict[str, float]:
    """Return a model's `parameters`, and its `GFLOPs` for one image of a size in pixels."""
    from ultralytics.utils.torch_utils import get_flops, get_num_params

    return {"parameters": get_num_params(model), "GFLOPs": get_flops(model, imgsz)}


def time_forward(model: nn.Module, imgsz: Any, repeats: int = 30, warm: int = 5) -> float:
    """Return the median milliseconds of a forward pass of one image, after some that choose kernels."""
    device = next(model.parameters()).device
    shape = (imgsz, imgsz) if isinstance(imgsz, int) else tuple(imgsz)
    image, times = torch.zeros(1, input_channels(model), *shape, device=device), []
    with torch.inference_mode():
        for _ in range(repeats + warm):
            start = time_sync(device)
            model(image)
            times.append(time_sync(device) - start)
    return float(np.median(times[warm:]) * 1e3)


def validate(weights: str | Path, student: nn.Module | None = None, **arguments: Any) -> tuple[Any, dict[int, str]]:
    """Return upstream's metrics of a checkpoint and the model's classes, and leave no results folder.

    Where a student is given, the labels are its classes and this model's are put into their order; a ValueError has
    the rest of a sentence where it does not know them all. `arguments` are what `val` is given.
    """
    from ultralytics import YOLO

    model = YOLO(weights)
    if student is not None and "depth" not in outputs(student.model[-1]):
        if not model_args(student).get("single_cls"):  # else its one class stands for all of a teacher's
            narrow(model.model, student.names)
    model.add_callback("on_val_end", score_unfound)
    return quietly(model, **arguments), model.names


def quietly(model: YOLO, **arguments: Any) -> Any:
    """Validate a model and leave no results folder, which upstream makes even where nothing is saved."""
    with tempfile.TemporaryDirectory() as scratch:
        return model.val(**arguments, plots=False, verbose=False, save_json=False, project=scratch)


def accuracy(found: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of a validation that are compared, by short names: `mAP50-95`, or with masks `mAP50-95(M)`."""
    short = {k.rpartition("/")[2]: float(v) for k, v in found.items()}
    chosen = {k: short[k] for k in sorted(short, reverse=True) if k.startswith(METRICS)}
    several = len({k[k.find("(") :] for k in chosen if "(" in k}) > 1  # boxes and masks
    return {k if several else k.partition("(")[0]: v for k, v in chosen.items()}
