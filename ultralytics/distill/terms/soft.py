# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Lets upstream's criteria take soft scores for labels: what an object is less sure of weighs less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ultralytics.distill.base import TermError


@contextmanager
def soft_scores(criterion: Any, scores: torch.Tensor) -> Iterator[None]:
    """Let the criterion of one branch weigh what it assigns to an anchor by its object's scores.

    Its assigner gives soft targets, an anchor's alignment times the scores of its object, which weigh boxes and angles
    too. Its masks are weighed by an object's largest score, and so are the gradients of its keypoints.

    Args:
        criterion (Any): A criterion with an assigner, which masks are judged one by one for.
        scores (torch.Tensor): Scores (N, M, classes) of each image's objects, in their order.
    """
    found: dict[str, Any] = {}

    def soften(module: nn.Module, args: tuple, out: Any) -> Any:
        if not isinstance(out, tuple) or len(out) < 5:
            raise TermError("the distillation term 'pseudo' needs a label assigner that answers as upstream's.")
        if not scores.shape[1]:
            return out
        index = out[4].long()
        sure, foreground = scores.amax(2).gather(1, index), out[3].bool()
        found.clear()
        found.update(sure=sure, foreground=foreground)
        soft = out[2].amax(2, keepdim=True) * scores.gather(1, index[..., None].expand(-1, -1, scores.shape[2]))
        return (*out[:2], soft, *out[3:])

    def judge_masks(masks: Any, pred: Any, proto: Any, boxes: Any, area: torch.Tensor) -> torch.Tensor:
        if "images" not in found:  # called for each image that has an object; only here does anything wait for a GPU
            found["images"] = iter([s[f] for s, f in zip(found["sure"], found["foreground"]) if f.any()])
        return own["single_mask_loss"](masks, pred, proto, boxes, area / next(found["images"]).clamp(min=1e-6))

    def judge_keypoints(*args: Any) -> Any:
        *labels, pred = args
        return own["calculate_keypoints_loss"](*labels, torch.lerp(pred.detach(), pred, found["sure"][..., None, None]))

    instead = {"single_mask_loss": judge_masks, "calculate_keypoints_loss": judge_keypoints, "overlap": False}
    instead = {k: v for k, v in instead.items() if hasattr(criterion, k)}
    own, kept = {k: getattr(criterion, k) for k in instead}, dict(vars(criterion))
    assigner = getattr(criterion, "assigner", None)
    handle = assigner.register_forward_hook(soften) if isinstance(assigner, nn.Module) else None
    vars(criterion).update(instead)
    try:
        yield
    finally:
        for name in instead:
            del vars(criterion)[name]
        vars(criterion).update({k: v for k, v in kept.items() if k in instead})
        if handle:
            handle.remove()


@contextmanager
def soft_matches(criterion: Any, scores: torch.Tensor) -> Iterator[None]:
    """Let a criterion that matches queries give soft targets: a query's overlap times the scores of its object.

    Its box losses are means over the objects, so an object's confidence weighs the gradient of its box. The scores
    (n, classes) are those of all objects.
    """
    last: list[Any] = []
    index_of, box_loss = criterion._get_index, criterion._get_loss_bbox

    def keep_index(matched: Any) -> Any:
        last[:] = index_of(matched)
        return tuple(last)

    def weigh(pred: torch.Tensor, target: torch.Tensor, postfix: str = "") -> Any:
        sure = scores[last[1]].amax(1, keepdim=True) if len(target) else 1.0
        return box_loss(torch.lerp(pred.detach(), pred, sure) if len(target) else pred, target, postfix)

    def soften(module: nn.Module, args: tuple) -> tuple:
        pred, target, label = args
        soft = torch.zeros_like(target)
        soft[last[0]] = target[last[0]].amax(1, keepdim=True) * scores[last[1]]
        return pred, soft, label

    vars(criterion).update(_get_index=keep_index, _get_loss_bbox=weigh)
    handle = criterion.vfl.register_forward_pre_hook(soften) if criterion.vfl else None
    try:
        yield
    finally:
        del vars(criterion)["_get_index"], vars(criterion)["_get_loss_bbox"]
        if handle:
            handle.remove()
