# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The few functions that the patches call. Each does nothing in a run without a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ultralytics.distill import config as configuration
from ultralytics.distill import online
from ultralytics.distill.composite import Composite
from ultralytics.distill.config import Config
from ultralytics.distill.distiller import BaseDistiller, Distiller
from ultralytics.distill.online import OnlineTeacher
from ultralytics.distill.report import formula
from ultralytics.distill.schedule import Constant
from ultralytics.distill.teacher import Source, Teacher, choose_dtype, resolve
from ultralytics.utils import LOGGER, RANK, colorstr
from ultralytics.utils.torch_utils import unwrap_model

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

GROUP = "distill"  # name of the optimizer's groups, and of the checkpoint's key


@dataclass
class Run:
    """What a trainer keeps of its distillation.

    Attributes:
        config (Config): The checked arguments.
        source (Source): The teacher.
        schedule (Constant): The weight over the run.
        composite (Composite | None): Student, distiller and teacher, once built.
        batch (int): Batches since the epoch's start.
    """

    config: Config
    source: Source
    schedule: Constant
    composite: Composite | None = None
    batch: int = -1


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
    if getattr(args, "model_t", None) is None:
        return None
    if args.distill_model is not None:
        raise ValueError(
            f"'model_t={args.model_t}' and 'distill_model={args.distill_model}' are two teachers; give one of them."
        )
    config = configuration.read(args)
    if config.module and not issubclass(config.module.cls, BaseDistiller):
        raise ValueError(
            f"'distill_module={config.module.text}' is no distiller; derive it from ultralytics.distill.BaseDistiller."
        )
    source = resolve(args.model_t, trainer.wdir)
    args.model_t = str(source.path)
    if args.compile:
        LOGGER.warning("'compile' is not supported while distilling and will be disabled.")
        args.compile = False
    return Run(config, source, config.schedule.cls(**config.schedule.params))


def save_teacher(trainer: BaseTrainer) -> None:
    """Save a live teacher where resume and spawned workers find it, once upstream has settled the results folder."""
    if trainer.distill and RANK in {-1, 0}:
        trainer.distill.source.write()


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
    save_teacher(trainer)
    config, device = run.config, trainer.device
    dtype = choose_dtype(config.precision, device, trainer.amp, trainer.args.amp == "bf16")
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):  # new layers draw from the generator, the student's run must not
        module = online.fit(trainer, run.source.module) if config.online else run.source.module
        own = config.module
        make = partial(own.cls, **own.params) if own else Distiller
        distiller = make(config, unwrap_model(trainer.model), module).to(device)
    if not distiller.columns or not (distiller.layers[1] or distiller.needs_head):
        raise ValueError(
            f"'distill_module={own.text}' asks for nothing; it needs 'columns', and 'layers' or 'needs_head'."
        )
    if config.online:
        teacher = OnlineTeacher(module, distiller.layers[1], distiller.needs_features, config.dline)
        trainer.add_callback("on_train_epoch_end", online.end_epoch)
    else:
        wants = distiller.layers[1], distiller.needs_head, distiller.needs_features
        teacher = Teacher(run.source, *wants, device, dtype)
    run.composite = Composite(trainer.model, distiller, teacher)
    trainer.add_callback("on_train_epoch_start", _start_epoch)
    trainer.add_callback("on_train_batch_start", _start_batch)
    if RANK in {-1, 0}:
        LOGGER.info(formula(distiller, teacher, config, run.source.path, trainer.args.imgsz))
    return run.composite


def add_optimizer_groups(trainer: BaseTrainer) -> None:
    """Give the distiller's and an online teacher's parameters groups of their own.

    The distiller's have the learning rate and momentum of the weights' group, the teacher's follow upstream's rules.
    """
    if trainer.distill is None:
        return
    composite, optimizer = trainer.distill.composite, trainer.optimizer
    groups = online.optimizer_groups(trainer, composite.teacher) if composite.online else []
    params = [p for p in composite.distiller.parameters() if p.requires_grad]
    like = min((g for g in optimizer.param_groups if g.get("param_group") == "weight"), key=lambda g: g["lr"])
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


def clip(trainer: BaseTrainer, max_norm: float = 10.0) -> None:
    """Clip the distiller's gradients apart from the student's, whose step they must not shrink."""
    if trainer.distill is None:
        return
    composite = trainer.distill.composite
    for module in [composite.distiller] + [composite.teacher] * composite.online:
        if params := list(module.parameters()):
            torch.nn.utils.clip_grad_norm_(params, max_norm=max_norm)


def update_average(trainer: BaseTrainer) -> None:
    """Update an online teacher's running average after an optimizer step."""
    if trainer.distill and trainer.distill.composite.online:
        trainer.distill.composite.teacher.ema.update(trainer.distill.composite.teacher.net)


def checkpoint(trainer: BaseTrainer) -> dict[str, Any]:
    """Return what resume needs, as plain tensors and values under one key; nothing in a plain run."""
    if trainer.distill is None:
        return {}
    composite = trainer.distill.composite
    state = {k: v.detach().cpu().clone() for k, v in composite.distiller.state_dict().items()}
    return {GROUP: {"version": 1, "state": state, "online": composite.teacher.state() if composite.online else None}}


def restore(trainer: BaseTrainer, ckpt: dict[str, Any]) -> None:
    """Load the distiller's state and make the checkpoint's optimizer fit the groups of this run.

    Another teacher than before, other terms, or none are allowed: then the distiller's layers and their optimizer
    slots start fresh, which is said in one line.

    Args:
        trainer (BaseTrainer): A trainer with its optimizer built.
        ckpt (dict): A checkpoint; its `optimizer` entry is changed in place.
    """
    kept = False
    if trainer.distill is not None:
        composite, saved = trainer.distill.composite, ckpt.get(GROUP) or {"state": None, "online": None}
        kept = _same_shapes(saved["state"], composite.distiller.state_dict())
        if composite.online:
            kept = kept and saved["online"] and _same_shapes(saved["online"]["net"], composite.teacher.net.state_dict())
        if kept:
            composite.distiller.load_state_dict(saved["state"])
            if composite.online:
                composite.teacher.load_state(saved["online"], ckpt["epoch"] + 1)
        else:
            LOGGER.warning("Distillation: the checkpoint's distiller does not fit this teacher, its layers start fresh.")
    if ckpt.get("optimizer") is not None and not kept:
        _renew_groups(ckpt["optimizer"], trainer.optimizer)


def _same_shapes(saved: dict[str, torch.Tensor] | None, fresh: dict[str, torch.Tensor]) -> bool:
    """Whether two states hold the same tensors by name and shape."""
    return saved is not None and {k: v.shape for k, v in saved.items()} == {k: v.shape for k, v in fresh.items()}


def _renew_groups(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Replace the distiller's groups in an optimizer's state by the fresh ones of this run, without slots."""
    old = {i for g in state["param_groups"] if g.get(GROUP) for i in g["params"]}
    state["state"] = {k: v for k, v in state["state"].items() if k not in old}
    state["param_groups"] = [g for g in state["param_groups"] if not g.get(GROUP)]
    free = 1 + max((i for g in state["param_groups"] for i in g["params"]), default=-1)
    for group in optimizer.state_dict()["param_groups"]:
        if group.get(GROUP):
            count = len(group["params"])
            state["param_groups"].append({**group, "params": list(range(free, free + count))})
            free += count


def finish(trainer: BaseTrainer) -> None:
    """Save and validate an online teacher after the student's own final validation; every process takes part."""
    if trainer.distill and trainer.distill.composite.online:
        online.finish(trainer)


def csv_columns(trainer: BaseTrainer) -> dict[str, float]:
    """Return the unweighted mean of every term's part over the epoch, for `results.csv`."""
    return trainer.distill.composite.take_means() if trainer.distill else {}


def drop_columns(trainer: BaseTrainer, items: dict | tuple, prefix: str) -> dict | tuple:
    """Leave the distillation's columns out of the validation's, where no term is computed."""
    if trainer.distill is None or prefix != "val":
        return items
    kept = [n for n in items if n not in trainer.distill.composite.columns]
    return {n: items[n] for n in kept} if isinstance(items, dict) else kept


def _start_epoch(trainer: BaseTrainer) -> None:
    """Count the epoch's batches from zero."""
    trainer.distill.batch = -1


def _start_batch(trainer: BaseTrainer) -> None:
    """Set the weight of this step; `time=` changes the number of epochs on the way, so it is read anew each time."""
    run = trainer.distill
    run.batch += 1
    epoch = min(run.batch / max(len(trainer.train_loader), 1), 1.0)
    done = min((trainer.epoch + epoch) / max(trainer.epochs, 1), 1.0)
    off = trainer.epoch >= trainer.epochs - run.config.stop
    run.composite.weight = 0.0 if off else run.schedule(done, epoch)


__all__ = (
    "add_optimizer_groups",
    "attach",
    "build",
    "checkpoint",
    "clip",
    "csv_columns",
    "drop_columns",
    "finish",
    "restore",
    "save_teacher",
    "update_average",
)
