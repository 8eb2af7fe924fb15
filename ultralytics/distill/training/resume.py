# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a checkpoint keeps of a distilled run, and how a resumed run takes it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ultralytics.distill.answers.recorded import Recorded
from ultralytics.utils import LOGGER

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

KEY = "distill"  # of the checkpoint
VERSION = 2


def checkpoint(trainer: BaseTrainer) -> dict[str, Any]:
    """Return what resume needs, as plain tensors and values under one key; nothing in a plain run."""
    run = trainer.distill
    if run is None:
        return {}
    step = run.step
    state = {k: v.detach().cpu().clone() for k, v in step.distiller.state_dict().items()}
    more = {"online": step.teacher.state() if step.online else None, "balance": step.balance.state()}
    more["drawn"] = run.unlabeled.drawn if run.unlabeled else 0
    optimizers = run.optimizer.state() if run.optimizer else []
    more["answers"] = {s.name: s.module.sha256 for s in run.sources if isinstance(s.module, Recorded)}
    return {KEY: {"version": VERSION, "state": state, "optimizers": optimizers, **more}}


def restore(trainer: BaseTrainer, ckpt: dict[str, Any]) -> None:
    """Load the state of the distiller, of an online teacher and of their optimizers.

    Another teacher than before, other terms, or none are allowed: then the distiller's layers and their optimizer
    start fresh, which is said in one line.
    """
    _drop_groups(ckpt)
    run = trainer.distill
    if run is None:
        return
    step, saved = run.step, ckpt.get(KEY) or {}
    for source in (s for s in run.sources if isinstance(s.module, Recorded)):
        if saved.get("answers", {}).get(source.name, source.module.sha256) != source.module.sha256:
            LOGGER.warning(f"'model_t={source.path}' has changed since the run began; it goes on as it is now.")
    if run.unlabeled:
        run.unlabeled.continue_from(saved.get("drawn", 0))
    kept = saved.get("version") == VERSION and _same_shapes(saved["state"], step.distiller.state_dict())
    if step.online:
        kept = kept and saved["online"] and _same_shapes(saved["online"]["net"], step.teacher.net.state_dict())
    if not kept:
        LOGGER.warning("Distillation: the checkpoint's layers do not fit this teacher or terms, they start fresh.")
        return
    step.distiller.load_state_dict(saved["state"])
    step.balance.load_state(saved["balance"], trainer.device)
    if step.online:
        step.teacher.load_state(saved["online"])
    if run.optimizer:
        run.optimizer.load_state(saved["optimizers"])


def _same_shapes(saved: dict[str, torch.Tensor] | None, fresh: dict[str, torch.Tensor]) -> bool:
    """Whether two states hold the same tensors by name and shape."""
    return saved is not None and {k: v.shape for k, v in saved.items()} == {k: v.shape for k, v in fresh.items()}


def _drop_groups(ckpt: dict[str, Any]) -> None:
    """Take out of an optimizer's state what version 1 of the checkpoint kept there beside the student's."""
    state = ckpt.get("optimizer")
    if state and any(g.get(KEY) for g in state["param_groups"]):
        state["param_groups"] = [g for g in state["param_groups"] if not g.get(KEY)]
        kept = {i for g in state["param_groups"] for i in g["params"]}
        state["state"] = {k: v for k, v in state["state"].items() if k in kept}
