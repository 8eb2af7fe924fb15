# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What every loss shares: the precision rule, the checks of its parameters, and the attributes that callers read."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_map

from ultralytics.distill.upstream import autocast

NORMS = ("none", "batch", "instance")


def widen(x: Any) -> Any:
    """Return tensors of 16 bits as float32, also inside lists, tuples and dicts; everything else as it is."""
    return tree_map(
        lambda v: v.float() if isinstance(v, torch.Tensor) and v.dtype in {torch.float16, torch.bfloat16} else v, x
    )


def detach(x: Any) -> Any:
    """Cut tensors from their graph, also inside lists, tuples and dicts."""
    return tree_map(lambda v: v.detach() if isinstance(v, torch.Tensor) else v, x)


def device_type(x: Any) -> str:
    """Return the kind of device of the first tensor in a list, tuple or dict, '' where there is none."""
    return next((v.device.type for v in tree_flatten(x)[0] if isinstance(v, torch.Tensor)), "")


def full_precision(kind: str) -> AbstractContextManager:
    """Return a context without autocast on a kind of device; those that have none raise when it is switched off."""
    try:
        return autocast(False, device=kind) if kind else nullcontext()
    except RuntimeError:
        return nullcontext()


class Loss(nn.Module):
    """A distillation term: student and teacher in, one scalar out, always computed in float32 or better.

    `forward` switches autocast off, widens 16-bit inputs, cuts the teacher's graph and calls `loss`, which a subclass
    writes. Feature and relation losses get maps (N, C, H, W), response losses get dicts of raw predictions.

    Attributes:
        align (bool): The student's map has to be brought to the teacher's width before the loss sees it.
        norm (str): Normalisation of both maps before the loss, without affine weights: 'none', 'batch' or 'instance'.
        needs_scores (bool): `batch["teacher_scores"]`, the teacher's class logits (N, nc, H, W) of the level, is read.
        needs_targets (bool): The assigner's `target_scores` and `fg_mask` are read from the student's dict.
        needs_labels (bool): The batch's labels are read and there is nothing to do without: unlabelled images are left
            out of the term.
        needs_head (str): What is predicted by the layers whose `head` and `tail` are read from the dicts, 'classes' or
            'boxes'; '' where they are not.
        needs_outputs (tuple): What both heads have to predict, in the words of `heads/common.py`; a response loss's.
        same_grid (bool): Raw outputs in cells are compared, which must be the same cells: the teacher sees images of
            the student's size.
        exclusive (bool): Classes are taken to exclude each other, which a detector's do not; a response loss's.
        bins (str): How the heads' box outputs have to agree: 'any', 'several' for each side, 'equal' in number, or
            'dfl', both.
        upright (bool): Boxes are taken to be upright.
        margin (float): The term has full weight while the teacher fits the labels by so much better than the student,
            less from there on, and none where it is no better; 0 leaves its weight alone. A detector's terms only.
        margin_of (str): What is held against the labels for that: 'boxes' or 'classes'.
        reads (tuple): Keys of the prediction dicts that are widened; the others are left alone, so nothing is copied
            that the loss does not use.
    """

    align: bool = True
    norm: str = "none"
    needs_scores: bool = False
    needs_targets: bool = False
    needs_labels: bool = False
    needs_head: str = ""
    needs_outputs: tuple[str, ...] = ()
    same_grid: bool = False
    exclusive: bool = False
    bins: str = "any"
    upright: bool = False
    margin: float = 0.0
    margin_of: str = "boxes"
    reads: tuple[str, ...] = ("scores", "target_scores")

    def __init__(self) -> None:
        """Take no parameters, so that a loss without its own refuses any by name."""
        super().__init__()

    def forward(self, student: Any, teacher: Any, batch: dict[str, Any] | None = None) -> torch.Tensor:
        """Return the term's value, a scalar.

        Args:
            student (torch.Tensor | dict): Map (N, C, H, W) or raw predictions of the student.
            teacher (torch.Tensor | dict): The same of the teacher.
            batch (dict, optional): The training batch, for losses that read labels.
        """
        with full_precision(device_type(student)):
            return self.loss(self.prepare(student), self.prepare(teacher, cut=True), batch)

    def prepare(self, x: Any, cut: bool = False) -> Any:
        """Widen a map, or the keys of a dict that this loss reads; cut them from their graph where asked."""
        if isinstance(x, dict):
            return {k: self.prepare(v, cut) if k in self.reads else v for k, v in x.items()}
        return widen(detach(x) if cut else x)

    def loss(self, student: Any, teacher: Any, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the term's value for inputs of full precision; subclasses write this."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """Return the name under which the loss is known to its user."""
        return type(self).__name__.lower()

    def same_shape(self, student: torch.Tensor, teacher: torch.Tensor, dims: slice = slice(None)) -> None:
        """Raise unless both tensors have the same sizes (in `dims`)."""
        if student.shape[dims] != teacher.shape[dims]:
            raise ValueError(
                f"{self.label} compares tensors of one shape, got {tuple(student.shape)} of the student and "
                f"{tuple(teacher.shape)} of the teacher"
            )

    def need(self, source: dict[str, Any] | None, key: str, where: str) -> Any:
        """Return `source[key]`, or raise with a sentence that says who misses what."""
        if source is None or key not in source:
            raise ValueError(f"{self.label} needs '{key}' in the {where}, which has {sorted(source or ())}")
        return source[key]

    def both(self, student: dict[str, Any], teacher: dict[str, Any], key: str) -> tuple[Any, Any]:
        """Return what two dicts of predictions have under a key, or raise."""
        return self.need(student, key, "student's dict"), self.need(teacher, key, "teacher's dict")
