# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a trainer keeps of its distillation, and what happens to it as epochs and batches go by."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ultralytics.distill.base import TermError
from ultralytics.distill.config import Config
from ultralytics.distill.schedule import Constant
from ultralytics.distill.teacher import average
from ultralytics.distill.teacher.source import Source
from ultralytics.distill.training.composite import Composite
from ultralytics.distill.training.folder import Folder
from ultralytics.distill.training.resume import GROUP
from ultralytics.distill.upstream import weight_group
from ultralytics.distill.world import Together, agree_on_epochs
from ultralytics.utils import RANK

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


@dataclass
class Run:
    """What a trainer keeps of its distillation.

    Attributes:
        configs (list[Config]): The checked arguments, for each teacher.
        sources (list[Source]): The teachers.
        schedule (Constant): The weight over the run.
        folder (Folder): The results folder as it was before.
        composite (Composite | None): Student, distiller and teacher, once built.
        batch (int): Batches since the epoch's start.
        begun (bool): Whether an epoch was completed.
    """

    configs: list[Config]
    sources: list[Source]
    schedule: Constant
    folder: Folder
    composite: Composite | None = None
    batch: int = -1
    begun: bool = False


def follow(trainer: BaseTrainer) -> None:
    """Hang what a run needs at each epoch and batch on upstream's callbacks."""
    trainer.add_callback("teardown", _put_back)
    trainer.add_callback("on_train_epoch_start", _start_epoch)
    trainer.add_callback("on_train_batch_start", _start_batch)
    trainer.add_callback("on_train_epoch_end", _end_epoch)


def save_teacher(trainer: BaseTrainer) -> None:
    """Save a live teacher, once, where resume and spawned workers find it."""
    if trainer.distill and RANK in {-1, 0}:
        for source in trainer.distill.sources:
            source.write()


def _put_back(trainer: BaseTrainer) -> None:
    """Take back what upstream wrote if an error ends the run at its first batch, or a term does in its first epoch."""
    run, error = trainer.distill, sys.exc_info()[1]
    early = run.batch <= 0 or isinstance(error, TermError)
    if RANK in {-1, 0} and isinstance(error, Exception) and early and not run.begun:
        run.folder.put_back()


def _start_epoch(trainer: BaseTrainer) -> None:
    """Count the epoch's batches from zero; the first epoch begins anew, with less decay, where memory ran out."""
    agree_on_epochs(trainer)
    trainer.distill.batch = -1
    trainer.distill.composite.take_means()
    decay = weight_group(trainer.optimizer)["weight_decay"]
    for group in trainer.optimizer.param_groups:
        if group.get("param_group") == GROUP and group["weight_decay"]:
            group["weight_decay"] = decay


def _end_epoch(trainer: BaseTrainer) -> None:
    """Save what resume needs beside the first checkpoint: a teacher that was given as an object."""
    trainer.distill.begun = True
    with Together():
        save_teacher(trainer)


def _start_batch(trainer: BaseTrainer) -> None:
    """Set the weight of this step; `time=` changes the number of epochs on the way, so it is read anew each time."""
    run = trainer.distill
    run.batch += 1
    epoch = min(run.batch / max(len(trainer.train_loader), 1), 1.0)
    done = min((trainer.epoch + epoch) / max(trainer.epochs, 1), 1.0)
    off = trainer.epoch >= trainer.epochs - run.configs[0].stop
    ramp = min(done / average.RAMP, 1.0) if run.sources[0].module is None else 1.0
    run.composite.weight = 0.0 if off else ramp * run.schedule(done, epoch)
