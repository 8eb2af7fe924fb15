# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a trainer keeps of its distillation, and what happens to it as epochs and batches go by."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ultralytics.distill.config import Config
from ultralytics.distill.runtime.distributed import agree_on_epochs
from ultralytics.distill.runtime.errors import TermError, log_resume_command
from ultralytics.distill.schedule import Constant
from ultralytics.distill.teacher import average
from ultralytics.distill.teacher.source import Source
from ultralytics.distill.training.folder import Folder
from ultralytics.distill.training.optimizer import OwnOptimizer
from ultralytics.distill.training.step import Step
from ultralytics.distill.unlabeled.batches import Unlabeled
from ultralytics.distill.unlabeled.plot import draw_batch
from ultralytics.distill.unlabeled.unlabeled_only import UnlabeledOnly
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
        step (Step | None): Distiller and teacher, once built.
        optimizer (OwnOptimizer | None): What trains the weights beside the student's, once the trainer has its own.
        unlabeled (Unlabeled | None): The images without labels, once they are looked through.
        files (list[str]): Those that the arguments name.
        unlabeled_only (UnlabeledOnly | None): The data set, where it has no labelled image.
        batch (int): Batches since the epoch's start.
        begun (bool): Whether an epoch was completed.
    """

    configs: list[Config]
    sources: list[Source]
    schedule: Constant
    folder: Folder
    step: Step | None = None
    optimizer: OwnOptimizer | None = None
    unlabeled: Unlabeled | None = None
    files: list[str] = field(default_factory=list)
    unlabeled_only: UnlabeledOnly | None = None
    batch: int = -1
    begun: bool = False


def save_teacher(trainer: BaseTrainer) -> None:
    """Save a live teacher, once, where resume and spawned workers find it."""
    if trainer.distill and RANK in {-1, 0}:
        for source in trainer.distill.sources:
            source.write()


def put_back(trainer: BaseTrainer) -> None:
    """Take back what upstream wrote if an error ends the run at its first batch, or a term does in its first epoch.

    After Ctrl-C say how to go on.
    """
    run, error = trainer.distill, sys.exc_info()[1]
    if run.step:
        run.step.disarm()  # it may have failed before its loss
    if isinstance(error, KeyboardInterrupt):
        log_resume_command(trainer)
    early = run.batch <= 0 or isinstance(error, TermError)
    if RANK in {-1, 0} and isinstance(error, Exception) and early and not run.begun:
        if run.unlabeled_only:
            run.unlabeled_only.put_back()
        run.folder.put_back()


def begin_batch(trainer: BaseTrainer, batch: dict[str, Any]) -> None:
    """Count the batch, set the weight of its terms, and let the student's next loss hold them.

    The trainer's own mean loss tells an epoch's first batch, also where memory ran out and the epoch begins anew.
    `time=` changes the number of epochs on the way, so it is read anew each time.
    """
    run, step = trainer.distill, trainer.distill.step
    if trainer.tloss is None:
        agree_on_epochs(trainer)
        run.batch = -1
        step.take_means()  # of an epoch that began and had not memory enough
        step.weights.start()
        if step.online:
            step.teacher.begin_epoch(trainer.epoch)
    run.batch += 1
    epoch = min(run.batch / max(len(trainer.train_loader), 1), 1.0)
    done = min((trainer.epoch + epoch) / max(trainer.epochs, 1), 1.0)
    off = trainer.epoch >= trainer.epochs - run.configs[0].stop
    ramp = min(done / average.RAMP, 1.0) if run.sources[0].module is None else 1.0
    step.weight = 0.0 if off else ramp * run.schedule(done, epoch)
    run.optimizer.begin_batch()
    if run.unlabeled and (step.weight or run.unlabeled.alone):  # without terms nothing is learnt from them
        first, more = not run.unlabeled.drawn, run.unlabeled.draw(trainer, batch)
        if first:
            draw_batch(trainer, more)
        step.join(batch, more)
    step.arm()
