# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What heads return and criteria take, in the form of 8.4 whatever the release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ultralytics.distill.upstream import LINE
from ultralytics.utils.loss import v8DetectionLoss

EXTRAS = {"Segment": ("mask_coefficient", "proto"), "Pose": ("kpts",), "OBB": ("angle",)}  # of an older head's tuple


def read_output(head: nn.Module, inputs: Sequence[torch.Tensor], output: Any) -> Any:
    """Return what a head made of its input maps in the form of 8.4; that of a head without boxes as it is.

    A detection head before 8.4 returns one map (N, 4 * reg_max + nc, H, W) a level, in a dictionary of branches if it
    is end-to-end, in a tuple if it predicts more; in eval mode all of it stands behind the decoded predictions.

    Returns:
        (Any): For such a head a dictionary with `boxes` (N, 4 * reg_max, A), `scores` (N, nc, A), `feats`, and what
            else it predicts, or one such dictionary a branch.
    """
    if not hasattr(head, "reg_max"):
        return output
    if isinstance(output, tuple) and isinstance(output[-1], dict):  # decoded predictions stand in front
        return (*output[:-1], read_output(head, inputs, output[-1]))
    if isinstance(output, tuple) and isinstance(output[0], torch.Tensor):
        return output[0], read_output(head, inputs, output[1])
    if isinstance(output, dict):
        if not all(isinstance(maps, list) for maps in output.values()):
            return output  # the form of 8.4
        return {branch: _join_levels(head, inputs, maps) for branch, maps in output.items()}
    maps, *rest = output if isinstance(output, tuple) else (output,)
    names = next((EXTRAS[t.__name__] for t in type(head).__mro__ if t.__name__ in EXTRAS), ())
    return {**_join_levels(head, inputs, maps), **dict(zip(names, rest))}


def _join_levels(head: nn.Module, inputs: Sequence[torch.Tensor], maps: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Return the predictions of all levels as `boxes` and `scores`, and the maps they were made of."""
    joined = torch.cat([m.flatten(2) for m in maps], 2)
    boxes, scores = joined.split((4 * head.reg_max, joined.shape[1] - 4 * head.reg_max), 1)
    return {"boxes": boxes, "scores": scores, "feats": list(inputs)}


def write_output(output: Any) -> Any:
    """Return what `read_output` gave in the form in which this release's criterion takes it: 8.3's takes maps."""
    if LINE == "8.4" or not isinstance(output, dict):
        return output
    if "one2many" in output:
        return {branch: write_output(found) for branch, found in output.items()}
    joined, feats = torch.cat([output["boxes"], output["scores"]], 1), output["feats"]
    levels = joined.split([x.shape[2] * x.shape[3] for x in feats], 2)
    maps = [level.unflatten(2, x.shape[2:]) for level, x in zip(levels, feats)]
    more = next(([output[k] for k in names] for names in EXTRAS.values() if names[0] in output), [])
    return (maps, *more) if more else maps


def branch_weights(criterion: Any) -> dict[str, float]:
    """Return how an end-to-end criterion weighs each branch at this epoch, 1 on average; nothing of others.

    That of 8.4 moves from `one2many`, the only branch that teaches more than its own head, to `one2one`.
    """
    return {"one2many": 2 * criterion.o2m, "one2one": 2 * criterion.o2o} if hasattr(criterion, "o2m") else {}


def detection_loss(criterion: Any, preds: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Return what a criterion of masks or keypoints says of boxes and classes alone, as a mean over the batch."""
    if hasattr(v8DetectionLoss, "get_assigned_targets_and_loss"):
        return v8DetectionLoss.get_assigned_targets_and_loss(criterion, preds, batch)[1].sum()
    feats = preds[0] if isinstance(preds[0], list) else preds[1][0]  # 8.3: the maps stand in front of what is more
    return v8DetectionLoss.__call__(criterion, feats, batch)[0] / len(feats[0])
