# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Builds what a run needs: for each teacher the model, frozen, learning or averaged, and its distiller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ultralytics.distill.answers.recorded import Recorded, RecordedTeacher
from ultralytics.distill.base import BaseDistiller
from ultralytics.distill.config import Config
from ultralytics.distill.distiller import Distiller
from ultralytics.distill.inference import preserve_random
from ultralytics.distill.spelling import Spelled, build_spelled
from ultralytics.distill.teacher import online
from ultralytics.distill.teacher.average import AverageTeacher
from ultralytics.distill.teacher.frozen import Teacher
from ultralytics.distill.teacher.preprocessing import build_preprocessing
from ultralytics.distill.teacher.several import SeveralTeachers
from ultralytics.distill.teacher.source import Source
from ultralytics.distill.teacher.speed import choose_dtype, explain, supports_dtype
from ultralytics.distill.terms.several import SeveralDistillers
from ultralytics.distill.training.compiled import keep_or_undo
from ultralytics.distill.training.step import Step
from ultralytics.distill.upstream import unwrap_model
from ultralytics.utils import LOGGER

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


def build_step(trainer: BaseTrainer, configs: list[Config], sources: list[Source]) -> Step:
    """Build distillers and teachers for the trainer's student."""
    with preserve_random(trainer.device):  # new layers draw from the generator, the student's run must not
        made = [_build_one(trainer, c, s) for c, s in zip(configs, sources)]
    distillers, teachers = zip(*made)
    distiller, teacher = distillers[0], teachers[0]
    if len(made) > 1:
        distiller = SeveralDistillers(distillers, [s.name for s in sources])
        teacher = SeveralTeachers(teachers)
    balance = configs[0].balance
    rule = balance.cls(**balance.params) if balance else None
    trainer.model = keep_or_undo(trainer, distiller)
    return Step(trainer.model, distiller, teacher, rule)


def _build_one(trainer: BaseTrainer, config: Config, source: Source) -> tuple[BaseDistiller, Any]:
    """Build one teacher and its distiller."""
    student = unwrap_model(trainer.model)
    module = source.module if source.module is not None else student
    if config.online:
        module = online.fit(trainer, module)
    if isinstance(module, Recorded):
        module.name_classes(student.names)
    own, models = config.module, (student, module)
    made = build_spelled("distill_module", own, config, *models) if own else Distiller(config, *models)
    distiller = made.to(trainer.device)
    if own:
        _require_wants(own, distiller, models)
    wants = distiller.layers[1], distiller.needs_head, distiller.needs_features
    if config.online:
        return distiller, online.OnlineTeacher(module, wants[0], wants[2], config.dline)
    if isinstance(module, Recorded):
        return distiller, RecordedTeacher(module)
    preprocess = build_preprocessing(config, student, module, trainer.device)
    if source.module is None:
        return distiller, AverageTeacher(trainer, *wants, preprocess)
    dtype = choose_dtype(config.precision, trainer.device, trainer.amp, trainer.args.amp == "bf16")
    if config.precision == "auto" and not supports_dtype(dtype, module, trainer.device):
        LOGGER.info(f"Distillation: the teacher's own modules do not run in {str(dtype)[6:]}, it stays in float32")
        dtype = torch.float32
    why = explain(config.precision, trainer.device, dtype)
    return distiller, Teacher(source, *wants, trainer.device, dtype, why, preprocess, student)


def _require_wants(own: Spelled, distiller: BaseDistiller, models: Sequence[nn.Module]) -> None:
    """Raise a ValueError unless a user's distiller asks for something, and for layers that student and teacher have."""
    given, layers = f"'distill_module={own.text}'", distiller.layers
    if not isinstance(layers, (list, tuple)) or len(layers) != 2:
        raise ValueError(f"{given} has 'layers={layers}'; give two lists, of the student's layers and the teacher's.")
    for role, wanted, model in zip(("student", "teacher"), layers, models):
        count = len(model.model)
        if bad := [i for i in wanted if not isinstance(i, int) or not 0 <= i < count]:
            raise ValueError(f"{given} asks for layer {bad[0]!r} of the {role}, which has 0 to {count - 1}.")
    if not distiller.columns or not (layers[1] or distiller.needs_head):
        raise ValueError(f"{given} asks for nothing; it needs 'columns', and 'layers' or 'needs_head'.")
