# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""One forward on labelled and unlabelled images, of which whoever asked for it sees the labelled ones alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ultralytics.distill.graph import Capture


@dataclass
class Joint:
    """A labelled batch and the unlabelled images beside it.

    Attributes:
        images (torch.Tensor): All images (N + U, C, H, W), the labelled ones first.
        count (int): N, which is 0 in a run without labels.
        more (dict): The batch of the unlabelled ones.
    """

    images: torch.Tensor
    count: int
    more: dict[str, Any]

    def batch(self, labelled: dict[str, Any]) -> dict[str, Any]:
        """Return what the terms are shown: all images, and the labels of the first `labeled`."""
        return {**labelled, "img": self.images, "labeled": self.count, "unlabeled": self.more}


@contextmanager
def joined(model: nn.Module, joint: Joint) -> Iterator[None]:
    """Let the forward that runs inside the block see more images than it is given.

    The first layer gets all images in place of those that the forward was called with, and the head returns the rows of
    the labelled ones alone. So the model's own loss does what it does without the others: it reads the labels and the
    predictions of the labelled images, whatever its form. Hooks that were put on the head before see all rows.
    """
    total = len(joint.images)

    def enter(module: nn.Module, args: tuple) -> tuple:
        return (joint.images, *args[1:])

    def widen(module: nn.Module, args: tuple) -> tuple:
        return tuple(_without_objects(x, total) for x in args)

    def leave(module: nn.Module, args: tuple, output: Any) -> Any:
        return rows(output, slice(joint.count), total)

    first, head = model.model[0], model.model[-1]
    handles = [first.register_forward_pre_hook(enter), head.register_forward_pre_hook(widen)]
    handles.append(head.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def rows(x: Any, part: slice, total: int) -> Any:
    """Return some rows of every tensor with one for each of `total` images, also inside lists, tuples and dicts.

    What RT-DETR's decoder returns has its layers in front of the images. What a detector of another library returns is
    a list of the images.
    """
    if isinstance(x, torch.Tensor):
        return x[part] if x.ndim and len(x) == total else x
    if is_queries(x):
        boxes, scores, *encoder, denoising = x
        return boxes[:, part], scores[:, part], *(y[part] for y in encoder), _denoising_rows(denoising, part)
    if isinstance(x, list) and len(x) == total and all(isinstance(y, dict) for y in x):
        return x[part]
    if isinstance(x, (list, tuple)):
        return type(x)(rows(v, part, total) for v in x)
    if isinstance(x, Capture):
        named = {k: rows(getattr(x, k), part, total) for k in ("maps", "inputs", "output", "features")}
        return replace(x, **named)
    return {k: rows(v, part, total) for k, v in x.items()} if isinstance(x, dict) else x


def is_queries(x: Any) -> bool:
    """Whether something is the raw output of RT-DETR's decoder: of its layers, of its encoder, and of its denoising."""
    return isinstance(x, tuple) and len(x) == 5 and [getattr(y, "ndim", 0) for y in x[:4]] == [4, 4, 3, 3]


def _denoising_rows(told: dict[str, Any] | None, part: slice) -> dict[str, Any] | None:
    """Return what RT-DETR's decoder says of the labels' own queries, for some of the images."""
    return told and {k: v[part] if k in {"dn_pos_idx", "dn_gt_idx"} else v for k, v in told.items()}


def labelled(x: Any, batch: dict[str, Any]) -> Any:
    """Return the rows of the labelled images, all of them where the batch has no others."""
    return rows(x, slice(batch["labeled"]), len(batch["img"])) if "labeled" in batch else x


def filled(x: torch.Tensor, total: int) -> torch.Tensor:
    """Return labels (N, ...) with rows for the images without, not a number, or False where they are yes or no."""
    more = x.new_full((total - len(x), *x.shape[1:]), float("nan") if x.is_floating_point() else 0)
    return torch.cat([x, more])


def _without_objects(x: Any, total: int) -> Any:
    """Return the labels that RT-DETR's decoder takes along, with no object in each of the other images."""
    if isinstance(x, dict) and "gt_groups" in x:
        return {**x, "gt_groups": [*x["gt_groups"], *[0] * (total - len(x["gt_groups"]))]}
    return x
