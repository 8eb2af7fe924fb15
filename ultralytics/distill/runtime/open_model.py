# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Opens a model by its file, whatever its family."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultralytics.engine.model import Model


def open_model(file: str | Path) -> Model:
    """Open a checkpoint or build a model from a YAML, or the name of one that Ultralytics knows.

    Returns:
        (Model): `YOLO`, which finds the right class for a checkpoint itself, or `RTDETR` for a YAML with such a head.
    """
    from ultralytics import RTDETR, YOLO
    from ultralytics.nn.tasks import yaml_model_load

    if str(file).endswith((".yaml", ".yml")) and yaml_model_load(file)["head"][-1][2] == "RTDETRDecoder":
        return RTDETR(str(file))
    return YOLO(file)
