"""Six ways to spend a training step, each with the trainer's own parts and a student of its own."""

from __future__ import annotations

from argparse import Namespace
from collections import defaultdict
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics.cfg import get_cfg
from ultralytics.distill import trainer as distill
from ultralytics.distill.answers.dataset import KEY, DatasetAnswers
from ultralytics.distill.answers.file import footer, header
from ultralytics.distill.tutorial import FeatureLoss, get_channels, get_fpn_features
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import WINDOWS
from ultralytics.utils.torch_utils import ModelEMA, autocast

WAYS = ("plain", "native", "tutorial", "ours", "floor", "answers")
MORE = ("unlabeled",)  # asked for by name
OBJECTS = 7  # boxes an image; COCO's mean
TUTORIAL_LAYERS = 2, 4, 6, 8, 12, 15, 18, 21  # of YOLOv8, as the tutorials have them


class Tutorial(nn.Module):
    """A small imitation of the tutorials' step as it stands: three student forwards, two teacher forwards.

    The task loss runs the student once; the feature loss runs both models once more up to the neck, the logit loss a
    third (second) time as a whole. As in their code the last two are computed without gradient and so train nothing;
    with gradient they would cost more. The teacher is the plain model in fp32.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module):
        """Build the feature loss; the teacher stays out of the registries."""
        super().__init__()
        self._orig_mod = student  # what upstream's `unwrap_model` peels, so that the EMA holds the student alone
        object.__setattr__(self, "teacher", teacher.eval().requires_grad_(False))
        self.layers = TUTORIAL_LAYERS if len(student.model) == 23 == len(teacher.model) else student.model[-1].f
        layers_t = self.layers if self.layers == TUTORIAL_LAYERS else teacher.model[-1].f
        self.layers_t, channels = layers_t, (get_channels(student, self.layers), get_channels(teacher, layers_t))
        object.__setattr__(self, "loss", FeatureLoss(*channels).to(next(student.parameters()).device))

    def forward(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of a batch."""
        loss, items = self._orig_mod(batch)
        with torch.no_grad():
            maps = get_fpn_features(batch["img"], self._orig_mod, self.layers)
            feature = self.loss(maps, get_fpn_features(batch["img"], self.teacher, self.layers_t))
            s, t = self._orig_mod(batch["img"]), self.teacher(batch["img"])[1]
            s, t = (x.get("one2many", x) for x in (s, t))
            logit = sum((s[k] - t[k]).square().mean() for k in ("boxes", "scores") if s[k].shape == t[k].shape) / 4
        extra = torch.stack([feature, torch.as_tensor(logit, device=loss.device)]) * len(batch["img"])
        return torch.cat([loss.view(-1), extra]), items


class Floor(nn.Module):
    """A plain step, and before it the teacher's forward that ours needs; its maps live until the student has run."""

    def __init__(self, student: nn.Module, teacher: Any):
        """Keep both."""
        super().__init__()
        self.teacher, self._orig_mod = teacher, student

    def forward(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the task loss of a batch."""
        shown = self.teacher(batch["img"])
        result = self._orig_mod(batch)
        del shown
        return result


class Half:
    """The second half of a batch as images without labels."""

    alone, drawn = False, 1

    def draw(self, trainer: Way, batch: dict[str, Any]) -> dict[str, Any]:
        """Return it."""
        return {"img": trainer.second}


class Way(BaseTrainer):
    """Upstream's trainer without its data: the model, optimizer, scaler, EMA and step are the real ones.

    It copies the student; its name is one of `WAYS` or `MORE`, the teacher a checkpoint.
    """

    def __init__(self, name: str, student: nn.Module, teacher: Path, options: Namespace):
        """Build what a trainer has after `_setup_train`, by the same calls."""
        needs = {"native": {"distill_model": str(teacher)}, "ours": {"model_t": str(teacher), **options.terms}}
        needs["ours"].update(distill_check=False, plots=False)  # both look at the data
        needs["floor"] = needs["unlabeled"] = needs["ours"]
        if name == "answers":
            needs["answers"] = {**needs["ours"], "model_t": str(write_answers(teacher.with_suffix(".jsonl"), student))}
            of_model = {"distill_feat", "distill_logit", "distill_layers", "distill_precision"}
            needs["answers"].update({k: "auto" for k in options.terms if k in of_model})
            self.train_loader: Any = Namespace(
                dataset=Namespace(answers=DatasetAnswers.__new__(DatasetAnswers))
            )  # the batch brings its answers
        self.args = get_cfg(overrides={"imgsz": options.imgsz, "batch": options.batch, **needs.get(name, {})})
        self.device, self.save_dir = torch.device(options.device), teacher.parent
        self.wdir = teacher.parent
        self.callbacks: dict[str, list] = defaultdict(list)
        self.amp = options.amp
        self.args.amp = self.amp
        self.data, self.accumulate, self.epoch, self.epochs = {"nc": student.yaml["nc"]}, 1, 0, 100
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp and self.device.type == "cuda")
        self.loss_names: tuple[str, ...] = ()
        run: Any = distill.attach(self)
        self.distill = run
        self.model = deepcopy(student).to(self.device)
        self.model.args = self.args
        if self.device.type == "cuda" and not WINDOWS:  # as upstream lays it out
            self.model = self.model.to(memory_format=torch.channels_last)
        if name == "native":
            from ultralytics.nn.distill_model import DistillationModel  # not in 8.3

            self.model = DistillationModel(student_model=self.model, teacher_model=self.args.distill_model)
        elif name == "tutorial":
            from ultralytics.distill.upstream import load_checkpoint

            self.model = Tutorial(self.model, load_checkpoint(teacher)[0].to(self.device))
        distill.build(self)
        if name == "floor":
            self.model, self.distill = Floor(self.model, run.step.teacher), None
        self.optimizer = self.build_optimizer(self.model, options.optimizer, lr=1e-3, momentum=0.937, decay=5e-4)
        self.ema = ModelEMA(self.model)
        distill.begin(self, None)
        self.model.train()
        self.loss: Any = None
        self.tloss, self.train_loader = None, range(1)
        self.halves = name == "unlabeled"
        if self.halves:
            run.unlabeled = Half()

    def losses(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return the loss vector of a batch, with the terms of a distilled run."""
        if self.halves:
            half = len(batch["img"]) // 2
            self.second, labels = batch["img"][half:], batch["batch_idx"] < half
            batch = {k: v[labels] if k != "img" else v[:half] for k, v in batch.items()}
        distill.step(self, batch)
        return self.model(batch)[0]

    def step(self, batch: dict[str, Any]) -> None:
        """Take one step, as the trainer's loop does."""
        with autocast(self.amp, device=self.device.type):
            self.loss = self.losses(batch).sum()
        self.scaler.scale(self.loss).backward()
        self.optimizer_step()


def make_batch(nc: int, options: Namespace) -> dict[str, Any]:
    """Return random images with random boxes, as upstream's loader and `preprocess_batch` hand them to the model."""
    g = torch.Generator().manual_seed(0)
    n = options.batch * OBJECTS
    batch = {
        "img": torch.rand(options.batch, 3, options.imgsz, options.imgsz, generator=g),
        "cls": torch.randint(0, nc, (n, 1), generator=g).float(),
        "bboxes": torch.cat([0.2 + 0.6 * torch.rand(n, 2, generator=g), 0.05 + 0.3 * torch.rand(n, 2, generator=g)], 1),
        "batch_idx": torch.arange(options.batch).repeat_interleave(OBJECTS).float(),
    }
    batch = {k: v.to(options.device) for k, v in batch.items()}
    moved = torch.cat([batch["bboxes"] * 1.01, 0.8 * nn.functional.one_hot(batch["cls"].view(-1).long(), nc)], 1)
    return {**batch, KEY: list(moved.cpu().numpy().reshape(options.batch, OBJECTS, -1))}


def write_answers(path: Path, student: nn.Module) -> Path:
    """Write a file of answers with the student's classes, for no image: the batch has its own."""
    path.write_text(header(student.names) + footer(0))
    return path
