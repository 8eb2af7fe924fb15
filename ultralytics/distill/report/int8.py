# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Accuracy of a model as small devices run it: in INT8, by upstream's own export, on the CPU."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from ultralytics.distill.report.metrics import accuracy, quietly
from ultralytics.distill.report.similarity import validation_images
from ultralytics.distill.runtime.errors import reason
from ultralytics.distill.teacher.headroom import main_metric
from ultralytics.distill.upstream import INT8, missing_packages
from ultralytics.utils import LOGGER

IMAGES = 300  # for the ranges of activations, which upstream takes from validation images; it recommends as many


def measure_int8(name: str, weights: str | Path, task: str, **arguments: Any) -> dict[str, float]:
    """Return the main metric of a checkpoint in INT8, 0 to 1, as `INT8 mAP50-95` or the like.

    Where it cannot be had it is nothing, and a line that calls the model by its name says why. `arguments` are what
    `val` is given, with `data` and `imgsz`.
    """
    if absent := missing_packages(INT8.packages):
        LOGGER.warning(f"Distillation: the {name} is not measured in INT8: pip install {' '.join(absent)} first.")
        return {}
    try:
        found = validate_int8(weights, task, **arguments)
    except Exception as e:  # a figure more must not cost the report
        LOGGER.warning(f"Distillation: the {name} is not measured in INT8: {reason(e)}")
        return {}
    key = main_metric(found)
    return {f"INT8 {key}": found[key]} if key else {}


def validate_int8(weights: str | Path, task: str, data: str, imgsz: Any, **arguments: Any) -> dict[str, float]:
    """Export a checkpoint to INT8, validate what comes out, and leave no file.

    The export takes images of any size, so that they are padded as those of the checkpoint are. The data's validation
    images set the ranges and are validated on. `arguments` are what else `val` is given.

    Returns:
        (dict[str, float]): The metrics that are compared, by short names.
    """
    from ultralytics import YOLO

    share = min(1.0, IMAGES / max(len(validation_images(data, task)), 1))
    with tempfile.TemporaryDirectory() as scratch:
        copied = shutil.copy(weights, scratch)  # an export lies beside its checkpoint
        how = {**INT8.arguments, "dynamic": True, "fraction": share, "verbose": False}
        file = YOLO(copied).export(data=data, imgsz=imgsz, device="cpu", **how)
        model = YOLO(file, task=task)
        return accuracy(quietly(model, data=data, imgsz=imgsz, device="cpu", **arguments).results_dict)
