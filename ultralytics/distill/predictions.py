# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Brings the raw outputs of two heads into one form, branch by branch, level by level, class by class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

PER_ANCHOR = ("scores", "boxes", "target_scores", "mask_coefficient", "kpts", "angle")  # (N, channels, A)


def branches(output: Any, strides: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Split a head's raw output into its branches.

    Args:
        output (Any): What the head returned in training mode.
        strides (Sequence[float]): Pixels a cell of each level.

    Returns:
        (dict[str, dict]): `one2many` and, for an end-to-end head, `one2one`; each with `scores` (N, nc, A), `boxes`
            (N, 4 * reg_max, A), `shapes` (H, W) of each level and `strides`. A classifier has `scores` (N, nc) only.
            Empty for a head without anchors, such as RT-DETR's.
    """
    if isinstance(output, tuple) and len(output) == 2:
        output = output[1]
    if isinstance(output, torch.Tensor) and output.ndim == 2:
        return {"one2many": {"scores": output}}
    if not isinstance(output, dict):
        return {}
    found = output if "one2many" in output else {"one2many": output}
    return {
        name: {**p, "shapes": [tuple(f.shape[2:]) for f in p["feats"]], "strides": list(strides)}
        for name, p in found.items()
        if isinstance(p, dict) and "scores" in p and "feats" in p
    }


@contextmanager
def watch_assigner(criterion: Any) -> Iterator[dict[str, dict[str, torch.Tensor]]]:
    """Keep what the student's label assigner decides while the criterion runs inside the block.

    Args:
        criterion (Any): The student's criterion.

    Yields:
        (dict[str, dict]): For each branch `target_scores` (N, nc, A) and `fg_mask` (N, A); nothing for a criterion that
            assigns no labels, such as a classifier's.
    """
    found: dict[str, dict[str, torch.Tensor]] = {}
    parts = {k: getattr(criterion, k) for k in ("one2many", "one2one") if hasattr(criterion, k)}
    parts = {k: c for k, c in (parts or {"one2many": criterion}).items() if hasattr(c, "assigner")}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple, out: tuple) -> None:
            found[name] = {"target_scores": out[2].transpose(1, 2), "fg_mask": out[3].bool()}

        return hook

    handles = [c.assigner.register_forward_hook(keep(k)) for k, c in parts.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def match_levels(student: dict[str, Any], teacher: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keep the levels of equal stride and resample the teacher's grids where they differ from the student's.

    Args:
        student (dict): One branch as `branches` gives it.
        teacher (dict): The same of the teacher.

    Returns:
        student (dict): With the common levels only.
        teacher (dict): The same levels on the student's grids.
    """
    if "shapes" not in student or (student["shapes"] == teacher["shapes"] and student["strides"] == teacher["strides"]):
        return student, teacher
    common = [v for v in student["strides"] if v in teacher["strides"]]
    grids = [student["shapes"][student["strides"].index(v)] for v in common]
    return _pick(student, common, grids), _pick(teacher, common, grids)


def _pick(branch: dict[str, Any], strides: list[float], grids: list[tuple[int, int]]) -> dict[str, Any]:
    """Take the levels of some strides out of a branch, each on a given grid."""
    sizes = [h * w for h, w in branch["shapes"]]
    index = [branch["strides"].index(v) for v in strides]
    picked = {**branch, "shapes": grids, "strides": strides}
    for key in PER_ANCHOR:
        if key in branch:
            levels = branch[key].split(sizes, dim=2)
            picked[key] = torch.cat([_regrid(levels[i], branch["shapes"][i], g) for i, g in zip(index, grids)], dim=2)
    for key in ("features", "tails"):
        if branch.get(key):
            picked[key] = [branch[key][i] for i in index]
    if branch.get("features"):
        picked["features"] = [_resize(x, g) for x, g in zip(picked["features"], grids)]
    if "fg_mask" in branch:
        picked["fg_mask"] = torch.cat([branch["fg_mask"].split(sizes, dim=1)[i] for i in index], dim=1)
    return picked


def _regrid(x: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    """Resample one level (N, C, H * W) to another grid."""
    if tuple(old) == tuple(new):
        return x
    return _resize(x.unflatten(2, old), new).flatten(2)


def _resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resample a map (N, C, H, W) to another size."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x.float(), size, mode="bilinear", align_corners=False)


def class_map(student: dict[int, str], teacher: dict[int, str]) -> list[tuple[int, int]]:
    """Pair the classes of two models by name, ignoring case.

    Args:
        student (dict[int, str]): Index to name.
        teacher (dict[int, str]): Index to name.

    Returns:
        (list[tuple[int, int]]): (student, teacher) indices of the classes both know; empty if nothing matches. Names
            that are mere numbers, as a model built from a YAML has them, match by position if both have as many.
    """
    unnamed = any(all(str(k) == str(v) for k, v in names.items()) for names in (student, teacher))
    if unnamed and len(student) == len(teacher):
        return [(i, i) for i in range(len(student))]
    index = {str(v).strip().lower(): k for k, v in teacher.items()}
    return [(k, index[n]) for k, v in student.items() if (n := str(v).strip().lower()) in index]


def select_classes(branch: dict[str, Any], index: torch.Tensor | None) -> dict[str, Any]:
    """Return a branch with only the classes of an index tensor, or as it is where the index is None."""
    if index is None:
        return branch
    return {**branch, **{k: branch[k].index_select(1, index) for k in ("scores", "target_scores") if k in branch}}
