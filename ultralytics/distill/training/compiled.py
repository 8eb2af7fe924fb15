# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Distillation from a compiled student, whose layers no hook can watch: what its raw output carries has to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from ultralytics.distill.graph import Capture, head_inputs
from ultralytics.distill.upstream import unwrap_model
from ultralytics.utils import LOGGER, RANK

if TYPE_CHECKING:
    from ultralytics.distill.base import BaseDistiller
    from ultralytics.engine.trainer import BaseTrainer


def keep_or_undo(trainer: BaseTrainer, distiller: BaseDistiller) -> nn.Module:
    """Return the student as upstream compiled it, or as it was before where its graph cannot teach.

    Nothing is lost by undoing: a graph is compiled at its first call, and there was none yet.
    """
    student = unwrap_model(trainer.model)
    if student is trainer.model:
        return student
    if reason := _hindrance(student, distiller):
        if RANK in {-1, 0}:
            LOGGER.warning(f"'compile={trainer.args.compile}' is switched off: {reason}.")
        trainer.args.compile = False
        return student
    return trainer.model


def _hindrance(student: nn.Module, distiller: BaseDistiller) -> str:
    """Return why a compiled student cannot teach this distiller anything, in a few words, or nothing."""
    from ultralytics.nn.modules.head import Detect
    from ultralytics.nn.tasks import RTDETRDetectionModel, WorldModel, YOLOEModel

    if isinstance(student, (RTDETRDetectionModel, WorldModel, YOLOEModel)):
        return f"a {type(student).__name__} takes labels or texts along with the images"
    if distiller.needs_features:
        return "a term compares inside the student's head, which a compiled graph does not show"
    carried = head_inputs(student) if isinstance(student.model[-1], Detect) else []
    if hidden := [i for i in distiller.layers[0] if i not in carried]:
        return f"a compiled graph does not show the student's layer {hidden[0]}, only what its detection head takes in"
    return ""


def read(student: nn.Module, output: Any) -> Capture:
    """Return what a head's raw output shows of a forward: of a detection head also its input maps, with gradient."""
    branch = output[1] if isinstance(output, tuple) and len(output) == 2 else output
    branch = branch.get("one2many", branch) if isinstance(branch, dict) else {}
    maps = list(branch.get("feats", ()))
    return Capture(maps=dict(zip(head_inputs(student), maps)), inputs=maps, output=output)
