# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Brings the raw outputs of two heads into one form, branch by branch, level by level."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.utils.tal import TaskAlignedAssigner

# What a branch has for each anchor, (N, channels, A).
PER_ANCHOR = ("scores", "boxes", "target_scores", "target_boxes", "points", "mask_coefficient", "kpts", "angle")


def branches(output: Any, strides: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Split what a head returned in training mode into its branches; strides are pixels a cell of each level.

    Returns:
        (dict[str, dict]): `one2many` and, for an end-to-end head, `one2one`; each with `scores` (N, nc, A), `boxes`
            (N, 4 * reg_max, A), `shapes` (H, W) of each level and `strides`, and what its task adds, e.g. `proto`
            (N, M, H, W). A classifier has `scores` (N, nc) only, a semantic head `scores` (N, nc, H, W), a depth head
            `depth` (N, 1, H, W). Empty for a head without any of these, such as RT-DETR's.
    """
    if isinstance(output, tuple) and len(output) == 2:  # a semantic head's second map is for its own loss
        output = output[0] if all(isinstance(x, torch.Tensor) and x.ndim == 4 for x in output) else output[1]
    if isinstance(output, torch.Tensor) and output.ndim in {2, 4}:
        return {"one2many": {"scores": output}}
    if not isinstance(output, dict):
        return {}
    if "depth" in output:
        return {"one2many": {"depth": output["depth"]}}
    found = output if "one2many" in output else {"one2many": output}
    return {
        name: _with_levels(p, strides)
        for name, p in found.items()
        if isinstance(p, dict) and "scores" in p and "feats" in p
    }


def _with_levels(branch: dict[str, Any], strides: Sequence[float]) -> dict[str, Any]:
    """Add the levels' grids and strides to a branch; of prototypes with class maps beside them keep the prototypes."""
    more = {"shapes": [tuple(f.shape[2:]) for f in branch["feats"]], "strides": list(strides)}
    if isinstance(branch.get("proto"), tuple):
        more["proto"] = branch["proto"][0]
    return {**branch, **more}


def assigners(criterion: Any) -> dict[str, nn.Module]:
    """Return the label assigners of a criterion's branches; none of a criterion that assigns no labels."""
    found = {k: getattr(c, "assigner", None) for k, c in branch_criteria(criterion).items()}
    return {k: a for k, a in found.items() if isinstance(a, nn.Module)}


def branch_criteria(criterion: Any) -> dict[str, Any]:
    """Return the criteria of a criterion's branches, itself where it has none."""
    found = {k: getattr(criterion, k) for k in ("one2many", "one2one") if hasattr(criterion, k)}
    return found or {"one2many": criterion}


@contextmanager
def watch_assigner(criterion: Any) -> Iterator[dict[str, dict[str, Any]]]:
    """Keep what the label assigner of the student's criterion decides while that runs inside the block.

    Yields:
        (dict[str, dict]): For each branch `target_scores` (N, nc, A), `target_boxes` (N, 4, A; 5 with an angle) and
            the anchors' `points` (1, 2, A), both in pixels, `fg_mask` (N, A), and `assign`, which assigns the batch's
            labels to other predictions: it takes scores (N, A, nc), 0 to 1, boxes (N, A, 4 or 5) and points (A, 2),
            both in pixels, and returns the first two; `by_boxes` says whether the assigner looks at no more than
            these, and `most_labels` is an upper bound of the number of labels. These three are missing where the
            assigner is not given the labels in upstream's order. Nothing for a criterion that assigns no labels, such
            as a classifier's.
    """
    found: dict[str, dict[str, Any]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple, kwargs: dict, out: Any) -> None:
            if len(args) < 3 or not isinstance(out, tuple) or len(out) < 4:
                return  # an assigner of another form than upstream's
            found[name] = {**_targets(out), "fg_mask": out[3].bool(), "points": args[2].T[None]}
            if len(args) > 5:  # the labels are where upstream has them
                found[name]["assign"] = partial(_assign, module, args[3:6], kwargs)
                found[name]["by_boxes"], found[name]["most_labels"] = not kwargs, args[3].shape[:2].numel()

        return hook

    handles = [a.register_forward_hook(keep(k), with_kwargs=True) for k, a in assigners(criterion).items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _targets(out: tuple) -> dict[str, torch.Tensor]:
    """Return what an assigner decided, channels before anchors."""
    boxes = out[1].transpose(1, 2).clone()  # 8.3's criterion divides them by the strides in place
    return {"target_scores": out[2].transpose(1, 2), "target_boxes": boxes}


def _assign(
    assigner: nn.Module,
    labels: tuple,
    more: dict[str, Any],
    scores: torch.Tensor,
    boxes: torch.Tensor,
    points: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """Assign labels to predictions by their scores and boxes alone, also where the assigner asks for more."""
    if more:  # keypoints or masks, which its parent does without
        assigner = copy(assigner)
        assigner.__class__ = TaskAlignedAssigner
    return _targets(assigner.forward(scores, boxes, points, *labels))  # not a call, which would be watched


def match_levels(student: dict[str, Any], teacher: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keep the levels of equal stride and bring the teacher's grids to the student's where they differ.

    With images of another size a cell of the student covers several of the teacher's, or a part of one. It hears the
    most confident of those that it meets, as a whole: classes, box and what its task adds. Means over them would drown
    the one that is sure in those that are not, and levels are not paired by shares of the image, since a detector looks
    for objects of some pixels at a stride, so the finest level of both has the smallest objects. Both are one branch as
    `branches` gives it.

    Returns:
        student (dict): With the common levels only.
        teacher (dict): The same levels on the student's grids; dense maps in the student's size. Where grids differ,
            its predictions stay in its own cells and from its own anchors. For left, top, right and bottom `scale`
            (4, A) is the number of the student's cells to one of its own, and `shift` (N, 4, A) what is added then to
            be a distance from the student's anchor, in the student's cells.
    """
    if "shapes" not in student:
        dense = {k: student[k].shape[2:] for k in ("scores", "depth") if k in student and student[k].ndim == 4}
        return student, {**teacher, **{k: _resize(teacher[k], size) for k, size in dense.items()}}
    if student["strides"] != teacher["strides"]:
        common = [v for v in student["strides"] if v in teacher["strides"]]
        student, teacher = _pick(student, common), _pick(teacher, common)
    if student["shapes"] == teacher["shapes"]:
        return student, teacher
    return student, _regrid(teacher, student["shapes"])


def _pick(branch: dict[str, Any], strides: list[float]) -> dict[str, Any]:
    """Take the levels of some strides out of a branch."""
    sizes = [h * w for h, w in branch["shapes"]]
    index = [branch["strides"].index(v) for v in strides]
    picked = {**branch, "shapes": [branch["shapes"][i] for i in index], "strides": strides}
    for key in (k for k in (*PER_ANCHOR, "fg_mask") if k in branch):
        levels = branch[key].split(sizes, dim=-1)
        picked[key] = torch.cat([levels[i] for i in index], dim=-1)
    for key in ("head", "tail"):
        if key in branch:
            picked[key] = [branch[key][i] for i in index]
    return picked


def _regrid(branch: dict[str, Any], grids: list[tuple[int, int]]) -> dict[str, Any]:
    """Bring a teacher's levels to other grids: each new cell hears the most confident anchor of those it meets."""
    index, scale, shift, start = [], [], [], 0
    sure = branch["scores"].detach().float().amax(1, keepdim=True)  # (N, 1, A)
    for level, (u, v), (h, w) in zip(sure.split([u * v for u, v in branch["shapes"]], 2), branch["shapes"], grids):
        at = F.adaptive_max_pool2d(level.unflatten(2, (u, v)), (h, w), return_indices=True)[1].flatten(1)  # (N, h * w)
        new = torch.arange(h * w, device=at.device)
        across = (at % v + 0.5) * (w / v) - (new % w + 0.5)  # from the student's anchor to the teacher's, in its cells
        down = (at // v + 0.5) * (h / u) - (new // w + 0.5)
        shift.append(torch.stack([-across, -down, across, down], 1))
        scale.append(torch.stack([sure.new_full((h * w,), x) for x in (w / v, h / u, w / v, h / u)]))
        index.append(at[:, None] + start)
        start += u * v
    chosen = torch.cat(index, 2)  # (N, 1, A)
    found = {k: branch[k].gather(2, chosen.expand(-1, branch[k].shape[1], -1)) for k in PER_ANCHOR if k in branch}
    if "head" in branch:
        found["head"] = [_resize(x, g) for x, g in zip(branch["head"], grids)]
    return {**branch, **found, "shapes": grids, "scale": torch.cat(scale, 1), "shift": torch.cat(shift, 2)}


def _resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resample a map (N, C, H, W) to another size."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x.float(), size, mode="bilinear", align_corners=False)


def scores_at(teacher: dict[str, dict[str, Any]], stride: float, size: tuple[int, int]) -> torch.Tensor:
    """Return the teacher's class logits at one level as a map (N, nc, H, W), the mean of its branches."""
    maps = []
    for b in teacher.values():
        i = b["strides"].index(stride)
        level = b["scores"].split([h * w for h, w in b["shapes"]], dim=2)[i].unflatten(2, b["shapes"][i]).float()
        maps.append(_resize(level, size))
    return sum(maps[1:], maps[0]) / len(maps)
