# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a checkpoint keeps of a distilled run, and how a resumed run takes it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ultralytics.utils import LOGGER

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

GROUP = "distill"  # name of the optimizer's groups, and of the checkpoint's key


def checkpoint(trainer: BaseTrainer) -> dict[str, Any]:
    """Return what resume needs, as plain tensors and values under one key; nothing in a plain run."""
    if trainer.distill is None:
        return {}
    composite = trainer.distill.composite
    state = {k: v.detach().cpu().clone() for k, v in composite.distiller.state_dict().items()}
    more = {"online": composite.teacher.state() if composite.online else None, "balance": composite.balance.state()}
    return {GROUP: {"version": 1, "state": state, "slots": _slots(trainer.optimizer), **more}}


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
            composite.balance.load_state(saved["balance"], trainer.device)
            _fill_slots(ckpt["optimizer"], saved["slots"])
            if composite.online:
                composite.teacher.load_state(saved["online"], ckpt["epoch"] + 1)
        else:
            LOGGER.warning("Distillation: the checkpoint's layers do not fit this teacher or terms, they start fresh.")
    if ckpt.get("optimizer") is not None and not kept:
        _renew_groups(ckpt["optimizer"], trainer.optimizer)


def _same_shapes(saved: dict[str, torch.Tensor] | None, fresh: dict[str, torch.Tensor]) -> bool:
    """Whether two states hold the same tensors by name and shape."""
    return saved is not None and {k: v.shape for k, v in saved.items()} == {k: v.shape for k, v in fresh.items()}


def _slots(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the optimizer's state of the distiller's parameters as it is; upstream's copy halves SGD's momenta."""
    params = [p for g in optimizer.param_groups if g.get("param_group") == GROUP for p in g["params"]]
    slots = [optimizer.state.get(p, {}) for p in params]
    return [{k: v.cpu().clone() if isinstance(v, torch.Tensor) else v for k, v in s.items()} for s in slots]


def _fill_slots(state: dict[str, Any], slots: list[dict[str, Any]]) -> None:
    """Put the distiller's slots into an optimizer's state, in place of upstream's halved ones."""
    indices = [i for g in state["param_groups"] if g.get("param_group") == GROUP for i in g["params"]]
    state["state"].update({i: slot for i, slot in zip(indices, slots) if slot})


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
