# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Pairs the classes of two models by name, and reduces scores and labels to those that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F


@dataclass
class Classes:
    """Which classes of two models are compared.

    Attributes:
        student (list[int]): Their indices in the student's head.
        teacher (list[int]): Their indices in the teacher's head, in the same order.
        merge (bool): The student has one class for everything: it is compared with the teacher's most confident.
    """

    student: list[int]
    teacher: list[int]
    merge: bool = False


def class_map(
    student: dict[int, str], teacher: dict[int, str], single: bool = False, trained: Sequence[int] | None = None
) -> Classes:
    """Pair the classes of two models, index to name, by name, ignoring case.

    With `single` the student's one class stands for all objects (`single_cls`); `trained` are those of its classes that
    are trained at all (`classes`), if not all.

    Returns:
        (Classes): The classes both know; none if nothing matches. Names that are mere numbers, as a model built from a
            YAML has them, match by position if both have as many.
    """
    if single and len(student) == 1:
        return Classes([0], list(range(len(teacher))), len(teacher) > 1)
    unnamed = any(all(str(k) == str(v) for k, v in names.items()) for names in (student, teacher))
    if unnamed and len(student) == len(teacher):
        pairs = [(i, i) for i in range(len(student))]
    else:
        index = {str(v).strip().lower(): k for k, v in teacher.items()}
        pairs = [(k, index[n]) for k, v in student.items() if (n := str(v).strip().lower()) in index]
    pairs = [(i, j) for i, j in pairs if trained is None or i in trained]
    return Classes([i for i, _ in pairs], [j for _, j in pairs])


def select_classes(branch: dict[str, Any], index: torch.Tensor | None, merge: bool = False) -> dict[str, Any]:
    """Return a branch whose `scores` and `target_scores` are those of some classes, or of the surest one."""
    if index is None:
        return branch
    found = {k: branch[k] for k in ("scores", "target_scores") if k in branch}
    return {**branch, **{k: x.amax(1, keepdim=True) if merge else x.index_select(1, index) for k, x in found.items()}}


def label_scores(
    scores: torch.Tensor, count: int, batch: dict[str, Any], index: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the labels of a classifier or a semantic segmentation in the form of scores.

    Args:
        scores (torch.Tensor): The student's scores (N, nc) or (N, nc, H, W) of the classes that are compared.
        count (int): Classes of the student.
        batch (dict): Upstream's batch, with `cls` (N,) or `semantic_mask` (N, h, w), where 255 is no label.
        index (torch.Tensor, optional): The student's classes that are compared, if not all.

    Returns:
        (torch.Tensor): In the shape of the scores, 1 for the label's class and 0 for the others; not a number where
            there is no label, or the label's class is not among several compared.
    """
    if scores.ndim == 2:
        label = batch["cls"].view(-1).long()
    else:
        size = scores.shape[2:]
        label = F.interpolate(batch["semantic_mask"][:, None].float(), size, mode="nearest")[:, 0].long()
    valid = (label >= 0) & (label < max(count, 2))
    if count == 1:  # yes or no
        hard = label[:, None].to(scores)
    else:
        hard = F.one_hot(label.where(valid, 0), count).movedim(-1, 1).to(scores)
        hard = hard if index is None else hard.index_select(1, index)
        valid = valid & (hard.sum(1) > 0) if hard.shape[1] > 1 else valid
    return hard.where(valid[:, None], float("nan"))
