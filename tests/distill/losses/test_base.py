# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What every loss shares."""

from __future__ import annotations

import torch

from ultralytics.distill.losses import Loss
from ultralytics.distill.losses.base import full_precision


class Mean(Loss):
    """The shortest loss."""

    def loss(self, student, teacher, batch):
        """Return the mean product, and note what came in."""
        self.seen = student.dtype, teacher.dtype, teacher.requires_grad, torch.is_autocast_enabled("cpu")
        return (student @ teacher.T).mean()


def test_own_loss():
    """A user's subclass gets full precision, a cut teacher and no autocast without a line of its own."""
    loss, x = Mean(), torch.randn(2, 3, dtype=torch.float16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(x, x.bfloat16()).dtype == torch.float32
    assert loss.seen == (torch.float32, torch.float32, False, False)
    assert loss(x.double(), x.double()).dtype == torch.float64
    assert loss.align and loss.norm == "none" and not (loss.needs_scores or loss.needs_targets or loss.needs_head)


def test_devices_without_autocast(monkeypatch):
    """Switching off what a device does not have is not an error, nor is it on MPS below torch 2.5, which refuses."""
    switch = torch.amp.autocast

    def old(kind, **more):
        if kind == "mps":
            raise RuntimeError("User specified an unsupported autocast device_type 'mps'")
        return switch(kind, **more)

    monkeypatch.setattr(torch.amp, "autocast", old)
    with full_precision("meta"), full_precision(""), full_precision("mps"):
        pass
