"""What the checks share: drawn data, models with random weights, and short trainings through the public API."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarking.ways import Way, make_batch
from demo import draw_dataset, write_model
from matrices.cell import write_teacher
from ultralytics import YOLO
from ultralytics.distill.report.curves import read_columns
from ultralytics.distill.upstream import load_yaml, save_yaml, unwrap_model
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel


class Skip(Exception):
    """A check that cannot run here; its text says why."""


class Enough(Exception):
    """Ends a training that has taken the steps it was asked for."""


@dataclass
class Stage:
    """Where the checks run: a folder for data, models and runs, upstream's `device`, and whether a CPU's sizes."""

    folder: Path
    device: str
    small: bool

    @property
    def torch_device(self) -> torch.device:
        """The device in torch's words."""
        return torch.device("cpu" if self.device == "cpu" else f"cuda:{self.device}")

    @property
    def cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device != "cpu"

    def options(self, **more: Any) -> Namespace:
        """Return what `benchmarking` is told."""
        size = {"imgsz": 64, "batch": 2} if self.small else {"imgsz": 640, "batch": 16}
        return Namespace(
            **{**size, "device": str(self.torch_device), "amp": self.cuda, "terms": {}, "optimizer": "SGD", **more}
        )

    def prepare(self) -> None:
        """Draw the data and write the models, once for all checks; the GPU is not touched."""
        data = draw_dataset(self.folder / "data", *((16, 4) if self.small else (128, 32)), 64 if self.small else 320)
        for name, width in (("student", 0.125 if self.small else 0.25), ("teacher", 0.25 if self.small else 0.5)):
            write_model(self.folder / f"{name}.yaml", width)
        write_teacher(str(self.folder / "teacher.yaml"), load_yaml(data)["names"], self.folder / "teacher.pt", 64)

    def data(self, images: int) -> str:
        """Return a data set whose epoch has so many images: the drawn ones, again and again."""
        root = self.folder / "data"
        files = sorted((root / "images/train").glob("*.jpg"))
        listed, file = root / f"train{images}.txt", root / f"data{images}.yaml"
        listed.write_text("\n".join(str(files[i % len(files)]) for i in range(images)) + "\n")
        save_yaml(file, {**load_yaml(root / "data.yaml"), "path": str(root), "train": listed.name})
        return str(file)

    def arguments(self, name: str, steps: int, **more: Any) -> dict[str, Any]:
        """Return the arguments of a training with so many steps an epoch."""
        batch = more.pop("batch", 4 if self.small else 16)
        fixed = {
            "imgsz": 64 if self.small else 320, "batch": batch, "nbs": batch, "epochs": 1, "device": self.device,
            "workers": 0 if self.small else 8, "plots": False, "val": False, "warmup_epochs": 0, "distill_check": False,
            "exist_ok": True, "project": str(self.folder / "runs"), "name": name, "optimizer": "SGD", "verbose": False,
        }  # fmt: skip
        data = self.data(more.pop("images", steps * max(batch, 1)))
        return {**fixed, "data": data, "model_t": str(self.folder / "teacher.pt"), "distill_feat": "cwd", **more}

    def train(self, name: str, steps: int, calls: dict[str, Callable] | None = None, **more: Any) -> Any:
        """Train and return the trainer; `calls` are callbacks by event, one of which may raise `Enough`."""
        model = YOLO(self.folder / "student.yaml")
        for event, call in (calls or {}).items():
            model.add_callback(event, call)
        found: list[Any] = []
        model.add_callback("on_pretrain_routine_end", found.append)
        try:
            model.train(**self.arguments(name, steps, **more))
        except Enough:
            pass
        return found[0]

    def columns(self, name: str) -> dict[str, list[float]]:
        """Return a run's results, a value an epoch."""
        return read_columns(self.folder / "runs" / name / "results.csv")

    def gradient(self, wrap: Callable = lambda model: model, **terms: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the losses and the gradient of a step of ours, always from the same weights on the same images."""
        self.exact()
        torch.manual_seed(0)
        options = self.options(terms={"distill_feat": "cwd", **terms}, imgsz=64 if self.small else 320)
        way = Way("ours", build(str(self.folder / "student.yaml")), self.folder / "teacher.pt", options)
        way.model = wrap(way.model)
        loss = way.losses(make_batch(6, options))
        loss.sum().backward()
        grads = [p.grad.flatten() for p in unwrap_model(way.model).parameters() if p.grad is not None]
        return loss.detach(), torch.cat(grads)

    @staticmethod
    def exact() -> None:
        """Let float32 be float32 on this GPU: TF32 keeps ten bits."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def step_of(trainer: Any) -> Any:
    """Return what holds `distiller` and `teacher` of a run."""
    return trainer.distill.step


def build(name: str, classes: int = 6) -> Any:
    """Build a detector from one of upstream's YAMLs, or a file, with random weights."""
    model = (RTDETRDetectionModel if "rtdetr" in name else DetectionModel)(name, nc=classes, verbose=False)
    model.nc = classes  # RT-DETR's criterion asks for it
    return model


def warm(model: Any, batch: dict[str, Any], steps: int) -> None:
    """Train a model a little, so that its weights and statistics are not those of a fresh one."""
    from ultralytics.cfg import get_cfg

    model.args = get_cfg()
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3)
    for _ in range(steps):
        model(batch)[0].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    model.criterion = None


def need(condition: Any, says: str) -> None:
    """Raise what a check found wrong."""
    if not condition:
        raise AssertionError(says)
