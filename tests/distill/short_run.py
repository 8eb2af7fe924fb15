"""Arguments and results of the short runs that several test files make."""

import csv
from pathlib import Path

import torch

from ultralytics import YOLO

BASE = {
    "imgsz": 64,
    "batch": 4,
    "epochs": 1,
    "plots": False,
    "device": "cpu",
    "workers": 0,
    "val": False,
    "distill_check": False,
}


def options(data_yaml, folder, **more):
    """Return the arguments of a short run in a folder of its own."""
    return {**BASE, "data": str(data_yaml), "project": str(folder), "name": "run", "exist_ok": True, **more}


def columns(folder):
    """Return the header of a run's results.csv."""
    with open(Path(folder) / "run/results.csv") as f:
        return [c.strip() for c in next(csv.reader(f))]


def rows(folder):
    """Return a run's results.csv as dictionaries of numbers, nan where a cell is empty."""
    with open(Path(folder) / "run/results.csv") as f:
        return [{k: float(v or "nan") for k, v in r.items()} for r in csv.DictReader(f)]


def weights(folder):
    """Return the state of a run's final model."""
    return YOLO(Path(folder) / "run/weights/last.pt").model.state_dict()


def equal(a, b):
    """Whether two states are bit-identical."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
