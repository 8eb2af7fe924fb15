# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A teacher that learns along: its own task loss on the same batch, its own average, its own checkpoint."""

from __future__ import annotations

from contextlib import nullcontext
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ultralytics import __version__
from ultralytics.distill.config import Config
from ultralytics.distill.graph import Capture, capture, frozen_tails
from ultralytics.distill.joint import Joint, joined
from ultralytics.distill.losses.base import detach
from ultralytics.distill.runtime.checkpoints import save_whole
from ultralytics.distill.runtime.distributed import CollectiveStep
from ultralytics.distill.runtime.errors import reason
from ultralytics.distill.teacher.evaluation import gather_once_all_are_ready
from ultralytics.distill.teacher.foreign import Foreign
from ultralytics.distill.teacher.live import deepcopy_teacher, name_of
from ultralytics.distill.teacher.source import Source
from ultralytics.distill.upstream import VALIDATES_EVERYWHERE, load_checkpoint, unwrap_model
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.torch_utils import ModelEMA

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


class OnlineTeacher(nn.Module):
    """A teacher in training.

    It keeps float32 weights, has an optimizer of its own kind, and runs the whole graph once a step in train mode.
    What it shows the student is detached.

    Args:
        model (nn.Module): The teacher, fitted to the data's classes.
        layers (list[int]): Layers whose maps the student is compared with.
        features (bool): Whether the head's inner features are compared too.
        gain (float): Multiplier on the teacher's own task loss.

    Attributes:
        ema (ModelEMA): Running average of the teacher; not among its parameters.
        metrics (dict): Its final validation, once the run has ended.
    """

    def __init__(self, model: nn.Module, layers: list[int], features: bool, gain: float):
        """Make every weight trainable, but for the fixed bins of DFL."""
        super().__init__()
        self.net, self.layers, self.features, self.gain = model, sorted(set(layers)), features, gain
        for name, p in model.named_parameters():
            p.requires_grad = ".dfl" not in name
        self.ema: Any = ModelEMA(model)
        self.metrics: dict[str, float] = {}

    def forward(self, batch: dict[str, Any], joint: Joint | None = None) -> tuple[Capture, torch.Tensor]:
        """Return what was seen of a batch, detached, and the task loss times the gain, as the criterion scales it.

        Unlabelled images are looked at too; nothing is learnt from them.
        """
        shown, (loss, _) = self.watch(batch, joint)
        return shown, self.gain * loss.sum()

    def watch(self, x: torch.Tensor | dict[str, Any], joint: Joint | None = None) -> tuple[Capture, Any]:
        """Run the teacher on a batch, or on images alone, and return what was seen, detached, and what it returned."""
        self.train()  # upstream's `freeze` matches names and would put these BatchNorms into eval mode too
        with capture(self.net, self.layers, self.features) as seen, joined(self.net, joint) if joint else nullcontext():
            returned = self.net(x)
        shown = Capture(*(detach(x) for x in (seen.maps, seen.inputs, seen.output, seen.features)))
        shown.tails = frozen_tails(self.net.model[-1]) if self.features else {}
        return shown, returned

    def describe(self) -> str:
        """Return its size and what it does, in a few words."""
        size = sum(p.numel() for p in self.net.parameters())
        return f"jointly trained (online distillation), {size / 1e6:.1f}M parameters"

    def state(self) -> dict[str, Any]:
        """Return what resume needs: weights, average and its count."""
        states = ((k, m.state_dict()) for k, m in (("net", self.net), ("ema", self.ema.ema)))
        return {**{k: {n: v.cpu().clone() for n, v in s.items()} for k, s in states}, "updates": self.ema.updates}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up where a checkpoint left off."""
        self.net.load_state_dict(state["net"])
        self.ema = ModelEMA(self.net)  # validation may have made inference tensors of the old one
        self.ema.ema.load_state_dict(state["ema"])
        self.ema.updates = state["updates"]

    def begin_epoch(self, epoch: int) -> None:
        """Shift the weights of an end-to-end head's criterion with the epochs, as upstream does for the student."""
        criterion = self.net.criterion = getattr(self.net, "criterion", None) or self.net.init_criterion()
        if hasattr(criterion, "update"):
            criterion.updates = epoch - 1
            criterion.update()


def require_trainable(config: Config, source: Source) -> None:
    """Raise unless a teacher can be trained along: an Ultralytics model that sees what the student sees."""
    own = {"distill_imgsz": config.imgsz, "distill_mean": config.mean, "distill_std": config.std}
    for name, value in own.items():
        if value is not None:
            raise ValueError(
                f"'{name}={value}' is for a frozen teacher, 'distill_online=True' trains it; leave one out."
            )
    if isinstance(source.module, Foreign):
        raise ValueError(
            f"'distill_online=True' trains an Ultralytics model along, the teacher is a "
            f"{name_of(source.module.inner)}; leave 'distill_online' out."
        )


def fit(trainer: BaseTrainer, module: nn.Module) -> nn.Module:
    """Return a model of the data's classes and channels with the teacher's weights that fit, as upstream fine-tunes."""
    student = unwrap_model(trainer.model)
    model = trainer.get_model(cfg=deepcopy(module.yaml), weights=deepcopy_teacher(module), verbose=False)
    model.names, model.args, model.nc = student.names, trainer.args, trainer.data["nc"]
    return model.to(trainer.device)


def share_class_weights(student: nn.Module, teacher: OnlineTeacher) -> None:
    """Give the teacher the class weights (`cls_pw`) that the student got; its average carries them, as upstream's does.

    To be called once upstream has set them, before the teacher's criterion, which reads them, is built.
    """
    if getattr(student, "class_weights", None) is not None:
        for model in (teacher.net, teacher.ema.ema):
            vars(model)["class_weights"] = student.class_weights


def build_optimizer(trainer: BaseTrainer, teacher: OnlineTeacher) -> torch.optim.Optimizer:
    """Return the teacher's optimizer by the trainer's own rules, of the kind that the student's has become."""
    like = trainer.optimizer.param_groups
    return trainer.build_optimizer(
        teacher.net,
        name=type(trainer.optimizer).__name__,
        lr=min(g["lr"] for g in like),
        momentum=like[0].get("momentum", like[0].get("betas", (trainer.args.momentum,))[0]),
        decay=max(g.get("weight_decay", 0.0) for g in like),
        iterations=1e5,  # upstream's default, which a user's signature may ask for
    )


def save_and_validate(trainer: BaseTrainer) -> None:
    """Save the teacher's average as a plain checkpoint and validate it once.

    Every process fails if rank 0 cannot save it; a run that has ended outlives a failure of the latter.
    """
    teacher = trainer.distill.step.teacher
    path = trainer.wdir / "teacher_last.pt"
    with CollectiveStep():
        if RANK in {-1, 0}:
            _save(trainer, teacher, path)
    LOGGER.info(f"\nDistillation: validating the jointly trained teacher, {path}...")
    try:
        with CollectiveStep(alone=not VALIDATES_EVERYWHERE) as collective:
            load_checkpoint(path)  # a node that does not see the folder fails here, before anyone waits
            collective.ready()
            validator = trainer.get_validator()
            validator.args.plots = False
            gather_once_all_are_ready(validator, collective)
            metrics = validator(model=str(path))  # in every process: its data are spread over them
            if RANK in {-1, 0}:
                teacher.metrics = metrics
    except Exception as e:
        LOGGER.warning(f"Distillation: {path} is saved, but not validated: {reason(e)}")


def _save(trainer: BaseTrainer, teacher: OnlineTeacher, path: Path) -> None:
    """Write the average as upstream writes a finished model."""
    model = deepcopy(teacher.ema.ema).half()
    model.criterion, model.args = None, dict(vars(trainer.args))
    made = {"date": datetime.now().astimezone().isoformat(), "version": __version__}
    save_whole({"epoch": -1, "model": model, "train_args": vars(trainer.args), **made}, path)
