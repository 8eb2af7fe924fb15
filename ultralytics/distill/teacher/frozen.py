# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Freezes and speeds up the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ultralytics.distill.graph import Capture, frozen_tails, run_layers
from ultralytics.distill.losses.base import full_precision
from ultralytics.distill.teacher.live import deepcopy_teacher
from ultralytics.distill.teacher.onednn import use_onednn
from ultralytics.distill.teacher.preprocessing import Preprocessing
from ultralytics.distill.teacher.source import Source
from ultralytics.distill.teacher.speed import choose_format, fuse


class Teacher:
    """The teacher, frozen and fused, which yields maps and raw predictions.

    It is a plain object, so that neither an optimizer, an EMA, DDP, a deepcopy nor a checkpoint ever sees it.

    Args:
        source (Source): The teacher; a live one is copied, one that was loaded is changed in place.
        layers (Sequence[int]): Layers whose maps are wanted.
        head (bool): Whether raw predictions are wanted; without, the graph is cut after the last layer.
        features (bool): Whether the class head's inner features are wanted, and what follows them.
        device (torch.device): Where it runs.
        dtype (torch.dtype): Precision of its weights and maps.
        why (str): The precision and its reason, for the printed formula.
        preprocess (Preprocessing, optional): What it sees of the images; by default the images as they are.
        student (nn.Module, optional): Whose weights' order in memory it follows.
    """

    def __init__(
        self,
        source: Source,
        layers: Sequence[int],
        head: bool,
        features: bool,
        device: torch.device,
        dtype: torch.dtype,
        why: str = "",
        preprocess: Preprocessing | None = None,
        student: nn.Module | None = None,
    ):
        """Fuse, cast and freeze the teacher, or a copy of one that is its owner's."""
        self.layers, self.head, self.dtype, self.preprocess = sorted(set(layers)), head, dtype, preprocess
        model = source.module if not source.live else deepcopy_teacher(source.module)
        model.criterion = None
        fuse(model.float().eval())
        self.features = features
        self.tails = frozen_tails(model.to(device).model[-1]) if features else {}
        model.model[-1].training = True  # the head alone: raw predictions of every branch, no box decode
        self.format, self.why = choose_format(device, student), why or str(dtype).replace("torch.", "")
        self.model = model.to(device, dtype, memory_format=self.format).requires_grad_(False)
        self.size = sum(p.numel() for p in model.parameters())
        self.onednn_blocks = use_onednn(self.model) if device.type == "cpu" and dtype != torch.float16 else 0

    def __call__(self, images: torch.Tensor) -> Capture:
        """Look at a batch."""
        with torch.no_grad(), full_precision(images.device.type):
            images = self.preprocess(images) if self.preprocess else images
            images = images.to(self.dtype, memory_format=self.format)
            seen = run_layers(self.model, images, self.layers, self.head, self.features)
        seen.tails = self.tails
        return seen

    def describe(self) -> str:
        """Return its size, its precision and what it sees, in a few words."""
        seen = self.preprocess.describe() if self.preprocess else ""
        return f"frozen, {self.size / 1e6:.1f}M parameters, {self.why}{seen}"

    def __deepcopy__(self, memo: dict) -> Teacher:
        """Return itself: a frozen teacher needs no second copy."""
        return self
