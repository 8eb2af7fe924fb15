# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The weight of the distillation terms over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ultralytics.distill.values import number


@dataclass
class Constant:
    """Weight 1 from beginning to end."""

    def __call__(self, run: float, epoch: float) -> float:
        """Return the multiplier of every term at a progress of the run and within the epoch, both 0 to 1."""
        return 1.0


@dataclass
class Falling(Constant):
    """What ends at another weight than it begins with."""

    end: float = 0.1

    def __post_init__(self) -> None:
        """Check the parameter before the first batch asks."""
        self.end = number("end", self.end, least=0)


@dataclass
class Cosine(Falling):
    """Half a cosine from 1 to `end` over the run, as DAMO-YOLO (arXiv 2211.15444) uses it with `end` 0.1."""

    def __call__(self, run: float, epoch: float) -> float:
        """Return the weight at a progress of the run."""
        return 1 + (1 - math.cos(math.pi * run)) / 2 * (self.end - 1)


@dataclass
class Linear(Falling):
    """A straight line from 1 to `end` over the run."""

    def __call__(self, run: float, epoch: float) -> float:
        """Return the weight at a progress of the run."""
        return 1 + run * (self.end - 1)


@dataclass
class Warmup(Constant):
    """From 0 to 1 over the first `share` of the run, then 1."""

    share: float = 0.1

    def __post_init__(self) -> None:
        """Check the parameter before the first batch asks."""
        self.share = number("share", self.share, least=0, most=1)

    def __call__(self, run: float, epoch: float) -> float:
        """Return the weight at a progress of the run."""
        return min(run / self.share, 1.0) if self.share > 0 else 1.0


@dataclass
class Sawtooth(Cosine):
    """The tutorials' form: the cosine from 1 to `end` that begins anew with every epoch."""

    def __call__(self, run: float, epoch: float) -> float:
        """Return the weight at a progress of the epoch."""
        return super().__call__(epoch, epoch)


SCHEDULES = {"constant": Constant, "cosine": Cosine, "linear": Linear, "warmup": Warmup, "sawtooth": Sawtooth}
