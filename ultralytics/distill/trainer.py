# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The few functions that the patches call. Each does nothing in a run without a teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from ultralytics.distill import config as configuration
from ultralytics.distill.base import BaseDistiller
from ultralytics.distill.losses import FEATURE, RELATION, RESPONSE
from ultralytics.distill.refusal import end_with_the_sentence
from ultralytics.distill.report import finale
from ultralytics.distill.report.formula import formula
from ultralytics.distill.teacher import online
from ultralytics.distill.teacher.exam import examine
from ultralytics.distill.teacher.source import resolve, teachers_of
from ultralytics.distill.teacher.view import check_view
from ultralytics.distill.terms.term import build_loss
from ultralytics.distill.training.building import build_composite
from ultralytics.distill.training.folder import Folder
from ultralytics.distill.training.resume import GROUP, checkpoint, restore
from ultralytics.distill.training.run import Run, follow, save_teacher
from ultralytics.distill.training.scaler import Scaler
from ultralytics.distill.unused import warn_beside_teacher, warn_without_teacher
from ultralytics.distill.upstream import adapt, keeps_average, order_columns, torn_down, unwrap_model, weight_group
from ultralytics.distill.values import longer_side
from ultralytics.utils import LOGGER, RANK, colorstr

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


NAMED = {*FEATURE.values(), *RESPONSE.values(), *RELATION.values()}


def take_teacher(trainer: BaseTrainer, overrides: dict[str, Any] | None) -> dict[str, Any] | None:
    """Take a teacher that is given beside `resume`, which upstream would ignore; `attach` puts it into the arguments.

    Args:
        trainer (BaseTrainer): A trainer before its arguments give way to the checkpoint's.
        overrides (dict, optional): The arguments given.

    Returns:
        (dict, optional): Those that upstream should look at.
    """
    if not trainer.args.resume or not overrides or "model_t" not in overrides:
        return overrides
    trainer.given_teacher = overrides["model_t"]
    return {k: v for k, v in overrides.items() if k != "model_t"}


def attach(trainer: BaseTrainer) -> Run | None:
    """Read and check the arguments and the teacher, before anything is written.

    Args:
        trainer (BaseTrainer): A trainer whose arguments and folders are known.

    Returns:
        (Run | None): None without a teacher. `trainer.args` holds plain values afterwards.

    Raises:
        ValueError: If an argument does not fit; one sentence that names it, its value and what would do.
        FileNotFoundError: If the teacher does not exist.
    """
    args = trainer.args
    if hasattr(trainer, "given_teacher"):
        args.model_t = trainer.given_teacher
    given = teachers_of(getattr(args, "model_t", None))
    if not given:
        warn_without_teacher(args)
        return None
    end_with_the_sentence()
    if getattr(args, "distill_model", None) is not None:
        raise ValueError(
            f"'model_t={args.model_t}' and 'distill_model={args.distill_model}' are two teachers; give one of them."
        )
    configs = configuration.read_each(args, len(given))
    config = configs[0]
    warn_beside_teacher(args, configs)
    if "ema" in given and len(given) > 1:
        raise ValueError(f"'model_t={args.model_t}': 'ema' teaches alone; give it without other teachers.")
    if "ema" in given and not keeps_average(args.device):
        raise ValueError("'model_t=ema' needs Ultralytics 8.4 on several devices; train on one, or name a teacher.")
    if config.module and not issubclass(config.module.cls, BaseDistiller):
        raise ValueError(
            f"'distill_module={config.module.text}' is no distiller; derive it from ultralytics.distill.BaseDistiller."
        )
    if config.online and (len(given) > 1 or given == ["ema"]):
        raise ValueError(
            f"'distill_online=True' trains one teacher along, 'model_t={args.model_t}' is no such one; give one model."
        )
    for term in config.terms:
        if term.spelled.cls in NAMED:  # a wrong value is found before anything is written; users' classes when built
            build_loss(term, config, channels=(8, 8))
    names = ["teacher.pt"] if len(given) == 1 else [f"teacher{i}.pt" for i in range(1, len(given) + 1)]
    side = longer_side(args.imgsz)
    sources = [resolve(t, trainer.wdir / n, c.imgsz or side) for t, n, c in zip(given, names, configs)]
    for c, source in zip(configs, sources):
        if source.module is not None:
            check_view(c, source.module)
    if config.online:
        online.require_trainable(config, sources[0])
    args.model_t = [str(s.path) for s in sources] if len(sources) > 1 else str(sources[0].path)
    return Run(configs, sources, config.schedule.cls(**config.schedule.params), Folder(trainer.save_dir))


def build(trainer: BaseTrainer) -> nn.Module:
    """Put the student and a new distiller under one roof.

    Args:
        trainer (BaseTrainer): A trainer whose model is on its device, frozen, AMP-checked and not yet wrapped.

    Returns:
        (nn.Module): The composite, or the model as it is without a teacher.
    """
    run = trainer.distill
    if run is None:
        return trainer.model
    adapt(trainer)
    follow(trainer)
    run.composite = build_composite(trainer, run.configs, run.sources)
    trainer.scaler = Scaler(trainer)
    if run.composite.online:
        trainer.add_callback("on_train_epoch_end", online.end_epoch)
    trainer.add_callback("on_train_start", examine)
    trainer.add_callback("on_train_start", finale.note_start)
    if RANK in {-1, 0}:
        names = ", ".join(s.name for s in run.sources)
        LOGGER.info(formula(run.composite.distiller, run.composite.teacher, run.configs[0], names, trainer.args.imgsz))
    return run.composite


def add_optimizer_groups(trainer: BaseTrainer) -> None:
    """Give the distiller's and an online teacher's parameters groups of their own.

    The distiller's have the learning rate and momentum of the weights' group, the teacher's follow upstream's rules.
    """
    if trainer.distill is None or any(g.get(GROUP) for g in trainer.optimizer.param_groups):
        return  # upstream sets the scheduler up anew when `time=` changes the number of epochs
    composite, optimizer = trainer.distill.composite, trainer.optimizer
    groups = online.optimizer_groups(trainer, composite.teacher) if composite.online else []
    params = [p for p in composite.distiller.parameters() if p.requires_grad]
    like = weight_group(optimizer)
    options = {k: v for k, v in like.items() if k not in {"params", "initial_lr"}}
    decayed, plain = [p for p in params if p.ndim > 1], [p for p in params if p.ndim <= 1]
    for some, decay in ((decayed, like["weight_decay"]), (plain, 0.0)):
        if some:
            groups.append({**options, "params": some, "weight_decay": decay, "param_group": GROUP})
    for group in groups:
        optimizer.add_param_group({**group, GROUP: True})
    if params and RANK in {-1, 0}:
        LOGGER.info(
            f"{colorstr('optimizer:')} distiller's groups with lr={like['lr']}: {len(decayed)} "
            f"weight(decay={like['weight_decay']}), {len(plain)} weight(decay=0.0)"
        )


def finish(trainer: BaseTrainer) -> None:
    """Save and validate an online teacher, where every process takes part, and write the report."""
    if trainer.distill and trainer.distill.composite.online:
        online.finish(trainer)
    if trainer.distill:
        finale.finish(trainer)


def csv_columns(trainer: BaseTrainer, metrics: dict[str, float]) -> dict[str, float]:
    """Return an epoch's row of `results.csv`, with the unweighted mean of every term's part and its pull added.

    Upstream makes a validation column for each training loss. No term is computed in validation, so these columns
    leave the row, and the trainer's metrics, which loggers read after this.
    """
    if trainer.distill is None:
        return metrics
    composite = trainer.distill.composite
    never = {f"val/{name}" for name in composite.columns}
    for name in never:
        trainer.metrics.pop(name, None)
    row = order_columns(metrics, composite.columns)
    notes = {f"distill/{k}": v for k, v in composite.distiller.notes().items()}
    ours = {**composite.take_means(), **notes, **composite.balance.take(composite.weight)}
    return {**{k: v for k, v in row.items() if k not in never}, **ours}


__all__ = (
    "add_optimizer_groups",
    "attach",
    "build",
    "checkpoint",
    "csv_columns",
    "finish",
    "restore",
    "save_teacher",
    "take_teacher",
    "torn_down",
    "unwrap_model",
)
