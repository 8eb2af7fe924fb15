# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Self-distillation: the student's own running average teaches it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from ultralytics.distill.graph import Capture, frozen_tails, run_layers
from ultralytics.distill.inference import eval_mode
from ultralytics.distill.losses.base import full_precision
from ultralytics.distill.teacher.preprocessing import Preprocessing
from ultralytics.distill.upstream import unwrap_model

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

RAMP = 0.2  # share of the run over which the average's word grows from nothing to full weight


class AverageTeacher:
    """The trainer's EMA as the teacher (mean teacher: Tarvainen and Valpola, NeurIPS 2017, arXiv 1703.01780).

    At the start the average knows nothing: the weight of its terms grows in a straight line from 0 at the first step to
    its full value after the first fifth of the run, on top of the schedule. On resume the average comes back with the
    checkpoint, as in any run. It is looked up in the trainer at each step, since resume replaces it. What is wanted of
    it is said as to `Teacher`.
    """

    def __init__(
        self, trainer: BaseTrainer, layers: Sequence[int], head: bool, features: bool, preprocess: Preprocessing
    ):
        """Keep what is wanted."""
        self.trainer, self.layers, self.head, self.features = trainer, sorted(set(layers)), head, features
        self.preprocess = preprocess

    def __call__(self, images: torch.Tensor) -> Capture:
        """Return what the average sees of images (N, C, H, W), without gradient, in fp32."""
        ema = self.trainer.ema
        model = unwrap_model(self.trainer.model) if ema is None else ema.ema
        # in auto-batch there is no average yet, and the student stands in for it
        kept: Any = eval_mode(model, images.device) if ema is None else nullcontext()
        head = model.model[-1]
        with kept, torch.no_grad(), full_precision(images.device.type):
            mode, head.training = head.training, True  # raw predictions of every branch
            try:
                seen = run_layers(model, self.preprocess(images.float()), self.layers, self.head, self.features)
            finally:
                head.training = mode
        seen.tails = frozen_tails(head) if self.features else {}
        return seen

    def describe(self) -> str:
        """Return what it is, in a few words."""
        seen = self.preprocess.describe()
        return f"the student's running average, its weight grows over the first {RAMP:.0%} of the run{seen}"

    def __deepcopy__(self, memo: dict) -> AverageTeacher:
        """Return itself: it holds nothing of its own."""
        return self
