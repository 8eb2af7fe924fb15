# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A minute's test that the Ultralytics on the path is the fork and distils: train, stop, resume, open the result.

Usage:
    python scripts/smoke.py FOLDER
"""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import Any

import torch

import ultralytics
from demo import draw_dataset, write_model
from ultralytics import YOLO


class Stop(Exception):
    """Raised in place of a kill."""


def stop(trainer: Any) -> None:
    """End a run after its first epoch is saved."""
    if trainer.epoch == 0:
        raise Stop


def smoke(folder: Path) -> None:
    """Run the test in a folder.

    Args:
        folder (Path): An empty folder.

    Raises:
        AssertionError: If the fork does not do what it should.
    """
    folder.mkdir(parents=True, exist_ok=True)
    assert "+distill." in ultralytics.__version__, f"{ultralytics.__version__} is not the fork"
    data = draw_dataset(folder / "data", train=8, val=4, imgsz=64)
    student, teacher = (write_model(folder / f"{name}.yaml", width) for name, width in (("s", 0.125), ("t", 0.25)))
    common = {"data": str(data), "imgsz": 64, "batch": 4, "epochs": 2, "device": "cpu", "workers": 0, "plots": False}
    common.update(project=str(folder), exist_ok=True)

    YOLO(teacher).train(**{**common, "epochs": 1}, name="teacher")
    model = YOLO(student)
    model.add_callback("on_model_save", stop)
    try:
        model.train(**common, name="run", model_t=str(folder / "teacher/weights/last.pt"))
    except Stop:
        pass
    saved = torch.load(folder / "run/weights/last.pt", map_location="cpu", weights_only=False)
    assert "distill" in saved, "the checkpoint keeps nothing of the distiller"

    YOLO(folder / "run/weights/last.pt").train(resume=True)
    rows = list(csv.DictReader((folder / "run/results.csv").read_text().splitlines()))
    terms = [{k.strip(): float(v) for k, v in row.items() if "distill" in k or "dfea" in k} for row in rows]
    assert len(terms) == 2, f"results.csv has {len(terms)} epochs of 2"
    assert all(row.get("train/dfea_loss", 0) > 0 and len(row) > 1 for row in terms), f"no terms in {terms}"
    assert all(math.isfinite(v) for row in terms for v in row.values()), f"not finite: {terms}"
    assert "val/dfea_loss" not in rows[0], "a validation column that is always zero"
    final = torch.load(folder / "run/weights/last.pt", map_location="cpu", weights_only=False)
    assert "distill" not in final, "the final checkpoint is not plain"
    assert len(YOLO(folder / "run/weights/best.pt").predict(torch.zeros(1, 3, 64, 64), verbose=False)) == 1


if __name__ == "__main__":
    smoke(Path(sys.argv[1]))
