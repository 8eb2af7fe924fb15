# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Trains the distiller's own weights, and a teacher that learns, in step with the trainer's optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed as dist
from torch import nn
from torch.utils._pytree import tree_map

from ultralytics.distill.runtime.distributed import is_distributed
from ultralytics.distill.teacher import online
from ultralytics.distill.upstream import weight_group
from ultralytics.utils import LOGGER, RANK, colorstr

if TYPE_CHECKING:
    from ultralytics.distill.training.step import Step
    from ultralytics.engine.trainer import BaseTrainer

MAX_NORM = 10.0  # upstream's own, for the student
SKIPS = 32  # steps in a row that a loss scale may skip: upstream's falls from 2^16 to 1 in sixteen
RETRIES = 3  # without one there may be fewer: of a batch for which memory ran out, or an epoch that was no number


class OwnOptimizer:
    """Optimizers of what is not the student's, each stepped right after the trainer's own.

    The trainer's optimizer holds the student alone, as in a plain run, so a trainer that builds it, steps it or
    schedules it in its own way changes nothing here: learning rate, momentum and decay are read off it at each step.
    Gradients are clipped on their own, since a large one of an align layer would otherwise shrink the student's step.
    Over several processes they are averaged here, once a step.

    Args:
        trainer (BaseTrainer): A trainer with its optimizer built.
        step (Step): Holds the distiller and the teacher.
    """

    def __init__(self, trainer: BaseTrainer, step: Step):
        """Build an optimizer for each module that has weights, and follow the trainer's."""
        self.trainer, self.step = trainer, step
        self.pairs: list[tuple[nn.Module, torch.optim.Optimizer]] = []
        self.waiting = 0  # steps of the trainer's that were over without a step of its optimizer
        self.followed: Any = None
        if any(p.requires_grad for p in step.distiller.parameters()):
            self.pairs.append((step.distiller, self._build(trainer.optimizer, step.distiller)))
        if step.online:
            own = online.build_optimizer(trainer, step.teacher)
            if not _trains(own, step.teacher):  # a user's rules may ask the trainer for its model, the student
                own = self._build(trainer.optimizer, step.teacher)
            self.pairs.append((step.teacher, own))
        for module, _ in self.pairs:
            _share_start(module)
        self._follow()

    def begin_batch(self) -> None:
        """Drop what is held where the student's gradients were dropped: a loss scale that overflows skips a step."""
        if not self.pairs:
            return
        self._follow()
        if any(p.grad is not None for p in self.step.student.parameters()):
            return  # gradients are added up over several batches
        held = any(p.grad is not None for module, _ in self.pairs for p in module.parameters())
        self.waiting = self.waiting + 1 if held else 0
        if self.waiting and self.waiting == (SKIPS if self._scale() != 1 else RETRIES):
            self._warn("its optimizer is not stepped")
        self._drop()

    def state(self) -> list[dict[str, Any]]:
        """Return what resume needs, on the CPU."""
        states = [own.state_dict() for _, own in self.pairs]
        return tree_map(lambda x: x.detach().cpu().clone() if isinstance(x, torch.Tensor) else x, states)

    def load_state(self, states: Sequence[dict[str, Any]]) -> None:
        """Take up the state of an interrupted run with the same weights."""
        for (_, own), state in zip(self.pairs, states):
            for saved, group in zip(state["param_groups"], own.param_groups):
                saved["fused"] = group.get("fused")  # this run's device decides on the kernel, as upstream has it
            own.load_state_dict(state)

    def _build(self, optimizer: Any, module: nn.Module) -> torch.optim.Optimizer:
        """Return an optimizer of the trainer's kind for a module; AdamW where that kind cannot be built again."""
        params = [p for p in module.parameters() if p.requires_grad]
        like = weight_group(optimizer)
        decay = like.get("weight_decay", 0.0)
        options = {**{k: v for k, v in like.items() if k not in {"params", "initial_lr"}}, "param_group": "distill"}
        sorts = [([p for p in params if p.ndim > 1], decay), ([p for p in params if p.ndim <= 1], 0.0)]
        groups = [{**options, "params": some, "weight_decay": d} for some, d in sorts if some]
        more = {k: getattr(optimizer, k) for k in ("muon", "sgd") if hasattr(optimizer, k)}  # of upstream's MuSGD
        try:
            own = type(optimizer)(groups, lr=like["lr"], **more)
        except TypeError:
            own = torch.optim.AdamW([{k: g[k] for k in ("params", "weight_decay")} for g in groups], lr=like["lr"])
        if RANK in {-1, 0}:
            count = sum(p.numel() for p in params)
            LOGGER.info(
                f"{colorstr('optimizer:')} {type(own).__name__} for {count:,} weights of the distillation losses, with "
                f"the student's learning rate; no checkpoint's model holds them"
            )
        return own

    def _follow(self) -> None:
        """Step after the trainer's optimizer, whichever it is by now."""
        if not self.pairs or self.trainer.optimizer is self.followed:
            return
        self.followed = self.trainer.optimizer
        if hasattr(self.followed, "register_step_post_hook"):
            self.followed.register_step_post_hook(self._after)
        else:
            self._warn(f"PyTorch {torch.__version__} or {type(self.followed).__name__} has no hook after a step")

    def _warn(self, why: str) -> None:
        """Say once that nothing of ours is trained."""
        count = sum(p.numel() for module, _ in self.pairs for p in module.parameters() if p.requires_grad)
        LOGGER.warning(
            f"Distillation: {count:,} weights beside the student's are not trained: {why}; use the optimizer_step of "
            f"Ultralytics' trainer, or terms without weights of their own."
        )

    def _after(self, optimizer: torch.optim.Optimizer, *step: Any) -> None:
        """Step once the student was stepped."""
        self.waiting = 0
        overflow = getattr(optimizer, "found_inf", None)  # a fused optimizer is called and leaves the weights alone
        if overflow is not None and overflow.item():
            return self._drop()
        scale = self._scale()  # once: on a GPU asking waits for it
        for module, own in self.pairs:
            params = [p for g in own.param_groups for p in g["params"] if p.requires_grad]
            if not average_gradients(params):
                continue
            for p in params:
                if p.grad is not None:
                    p.grad.div_(scale)
            foreach = {"foreach": False} if params[0].device.type == "npu" else {}  # as upstream clips there
            if torch.isfinite(nn.utils.clip_grad_norm_(params, MAX_NORM, **foreach)):
                copy_rates(own, optimizer)
                own.step()
            if module is not self.step.distiller:  # here, since some optimizers are stepped twice a batch
                self.step.teacher.ema.update(self.step.teacher.net)
        self._drop()

    def _scale(self) -> float:
        """Return what the loss was multiplied by before backward."""
        return self.trainer.scaler.get_scale()

    def _drop(self) -> None:
        """Drop all gradients."""
        for module, _ in self.pairs:
            for p in module.parameters():
                p.grad = None


def copy_rates(own: torch.optim.Optimizer, optimizer: torch.optim.Optimizer) -> None:
    """Give each group the learning rate, momentum and decay that the trainer's optimizer has at this step.

    Groups of a teacher that upstream's rules built have their counterparts, in the same order; all others follow the
    student's decayed weights. A group without decay stays without.
    """
    names = [[g.get("param_group") for g in o.param_groups] for o in (own, optimizer)]
    for i, group in enumerate(own.param_groups):
        like = optimizer.param_groups[i] if names[0] == names[1] else weight_group(optimizer)
        group.update({k: float(like[k]) for k in ("lr", "momentum") if k in group and k in like})  # 8.3 has numpy's
        if group.get("weight_decay"):
            group["weight_decay"] = like.get("weight_decay", group["weight_decay"])


def _trains(optimizer: torch.optim.Optimizer, module: nn.Module) -> bool:
    """Whether an optimizer holds weights of a module, and no others."""
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    return bool(held) and held <= {id(p) for p in module.parameters()}


def _share_start(module: nn.Module) -> None:
    """Give every process the weights of the first, as DDP does."""
    if is_distributed():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


@torch.no_grad()
def average_gradients(params: Sequence[torch.Tensor]) -> bool:
    """Average gradients over all processes; return whether there are any, which all of them agree on."""
    found = any(p.grad is not None for p in params)
    if not is_distributed():
        return found
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in params])
    flat = torch.cat([flat, flat.new_tensor([float(found)])])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for p, grad in zip(params, flat[:-1].split([p.numel() for p in params])):
        p.grad = grad.view_as(p)
    return bool(flat[-1] > 0)
