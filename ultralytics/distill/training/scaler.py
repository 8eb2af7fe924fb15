# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Upstream's gradient scaler, around which the distiller's gradients are clipped on their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

MAX_NORM = 10.0  # upstream's own


class Scaler:
    """A gradient scaler that keeps what is not the student's out of the clipping between `unscale_` and `step`.

    Clipped together, a large gradient of an align layer would shrink the student's step. All else is the scaler's.

    Args:
        trainer (BaseTrainer): A trainer with its scaler and a composite.
    """

    def __init__(self, trainer: BaseTrainer):
        """Take the trainer's scaler."""
        self.inner, self.composite = trainer.scaler, trainer.distill.composite
        self.held: list[tuple[torch.nn.Parameter, torch.Tensor]] = []

    def __getattr__(self, name: str) -> Any:
        """Look everything else up in the scaler."""
        return getattr(self.inner, name)

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        """Unscale all gradients, clip the distiller's and an online teacher's, and hold them back from upstream."""
        self.inner.unscale_(optimizer)
        for module in [self.composite.distiller] + [self.composite.teacher] * self.composite.online:
            params = [p for p in module.parameters() if p.grad is not None]
            if params:
                torch.nn.utils.clip_grad_norm_(params, max_norm=MAX_NORM)
            self.held += [(p, p.grad) for p in params]
            for p in params:
                p.grad = None

    def step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        """Give the held gradients back, and step."""
        for p, grad in self.held:
            p.grad = grad
        self.held.clear()
        return self.inner.step(optimizer, *args, **kwargs)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update the scale, and an online teacher's running average, which follows the steps and not the batches."""
        self.inner.update(*args, **kwargs)
        if self.composite.online:
            self.composite.teacher.ema.update(self.composite.teacher.net)
