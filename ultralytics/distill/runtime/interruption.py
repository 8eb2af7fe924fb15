# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a training says that its user interrupts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultralytics.utils import LOGGER, RANK

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

RESUME = "yolo train resume=True model="


def log_resume_command(trainer: BaseTrainer | None) -> None:
    """Say after Ctrl-C what to type to go on, once.

    Args:
        trainer (BaseTrainer, optional): The interrupted training; the command begins with its `resume_command`, if any.
    """
    if RANK not in {-1, 0} or getattr(trainer, "interrupted", False):
        return
    if trainer is None or not trainer.last.is_file():
        LOGGER.info("\nInterrupted; no epoch was completed.")
    elif trainer.stop:
        LOGGER.info(f"\nInterrupted after the last epoch; the weights are {trainer.last}")
    else:
        LOGGER.info(f"\nInterrupted; go on with: {getattr(trainer, 'resume_command', RESUME)}{trainer.last}")
    if trainer is not None:
        trainer.interrupted = True
