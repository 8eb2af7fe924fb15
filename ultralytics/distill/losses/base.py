# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What every loss shares: the precision rule, the checks of its parameters, and the attributes that callers read."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from ultralytics.distill.upstream import autocast

NORMS = ("none", "batch", "instance")


def widen(x: Any) -> Any:
    """Return tensors of 16 bits as float32, also inside lists, tuples and dicts; everything else as it is."""
    if isinstance(x, torch.Tensor):
        return x.float() if x.dtype in {torch.float16, torch.bfloat16} else x
    if isinstance(x, (list, tuple)):
        return type(x)(widen(v) for v in x)
    return {k: widen(v) for k, v in x.items()} if isinstance(x, dict) else x


def detach(x: Any) -> Any:
    """Cut tensors from their graph, also inside lists, tuples and dicts."""
    if isinstance(x, torch.Tensor):
        return x.detach()
    if isinstance(x, (list, tuple)):
        return type(x)(detach(v) for v in x)
    return {k: detach(v) for k, v in x.items()} if isinstance(x, dict) else x


def device_type(x: Any) -> str:
    """Return the kind of device of the first tensor in a list, tuple or dict, '' where there is none."""
    if isinstance(x, torch.Tensor):
        return x.device.type
    inner = map(device_type, x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ())
    return next(filter(None, inner), "")


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
        needs_head (bool): `head` and `tail` of the class branch are read from the dicts.
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
    needs_head: bool = False
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
        """Return the term's value.

        Args:
            student (torch.Tensor | dict): Map (N, C, H, W) or raw predictions of the student.
            teacher (torch.Tensor | dict): The same of the teacher.
            batch (dict, optional): The training batch, for losses that read labels.

        Returns:
            (torch.Tensor): Scalar.
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


def number(name: str, value: Any, low: float, high: float = math.inf, open_low: bool = False) -> float:
    """Return `value` as a float, or raise with a sentence that names the parameter and its range.

    Args:
        name (str): The parameter.
        value (Any): What was given for it.
        low (float): Smallest value allowed.
        high (float): Largest value allowed.
        open_low (bool): `low` itself is not allowed.

    Returns:
        (float): The value.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r} is not a number")
    inside = math.isfinite(value) and (value > low if open_low else value >= low) and value <= high
    if not inside:
        span = (f"above {low:g}" if open_low else f"of at least {low:g}") + f" and at most {high:g}" * (high < math.inf)
        raise ValueError(f"{name}={value} is out of range, use a number {span}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """Return `value` if it is True or False, or raise."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is neither True nor False")
    return value


def choice(name: str, value: Any, valid: tuple) -> Any:
    """Return `value` if it is one of `valid`, or raise with a sentence that lists them."""
    if value not in valid:
        raise ValueError(f"{name}={value!r} is unknown, valid are {', '.join(map(str, valid))}")
    return value


def whole(name: str, value: Any) -> int:
    """Return `value` if it is a whole number of at least 1, or raise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r} is not a whole number, use at least 1")
    if value < 1:
        raise ValueError(f"{name}={value} is out of range, use at least 1")
    return value
