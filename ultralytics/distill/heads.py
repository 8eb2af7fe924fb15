# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What two heads have in common: levels, branches, bins, classes; and what keeps a term from comparing them."""

from __future__ import annotations

from torch import nn

from ultralytics.distill.config import Term
from ultralytics.distill.graph import class_heads
from ultralytics.distill.losses import DIST, KL, LD, MSE, CrossKD, GIoU
from ultralytics.distill.predictions import class_map
from ultralytics.utils import LOGGER


def head_strides(model: nn.Module) -> list[float]:
    """Return the pixels a cell of each level of a head, or nothing for a head without levels."""
    return [float(v) for v in getattr(model.model[-1], "stride", ())]


def fit_features(student: nn.Module, teacher: nn.Module) -> list[tuple[int, int]]:
    """Return the widths of the class heads' inner features at the common levels."""
    channels = []
    for model in (student, teacher):
        levels = class_heads(model.model[-1])["one2many"]
        widths = [next(m for m in reversed(list(x[0].modules())) if isinstance(m, nn.Conv2d)) for x in levels]
        channels.append(dict(zip(head_strides(model), (c.out_channels for c in widths))))
    return [(c, channels[1][v]) for v, c in channels[0].items() if v in channels[1]]


def fit_response(term: Term, student: nn.Module, teacher: nn.Module) -> tuple[list[str], list | None]:
    """Return the common branches and classes of two heads, or raise a ValueError that says what does not fit."""
    heads = student.model[-1], teacher.model[-1]
    kinds = ["anchors" if hasattr(h, "cv2") and hasattr(h, "nc") else type(h).__name__ for h in heads]
    if kinds[0] != kinds[1] or kinds[0] not in {"anchors", "Classify"}:
        raise ValueError(f"predictions of {type(heads[0]).__name__} and {type(heads[1]).__name__} do not compare.")
    if kinds[0] == "Classify" and issubclass(term.spelled.cls, (LD, GIoU, CrossKD)):
        raise ValueError("it needs a detection head, the models are classifiers.")
    if kinds[0] == "anchors":
        bins, strides = [h.reg_max for h in heads], [head_strides(m) for m in (student, teacher)]
        if issubclass(term.spelled.cls, (KL, DIST)):
            raise ValueError("it is a softmax over classes, which detectors do not have; use bckd or bce.")
        if issubclass(term.spelled.cls, LD) and (bins[0] != bins[1] or bins[0] < 2):
            raise ValueError(f"it needs equal DFL bins, the student has {bins[0]} and the teacher {bins[1]}.")
        if issubclass(term.spelled.cls, MSE) and bins[0] != bins[1]:
            raise ValueError(f"it needs equal box outputs, the student has {bins[0]} bins and the teacher {bins[1]}.")
        if not set(strides[0]) & set(strides[1]):
            raise ValueError(f"the heads share no stride, the student has {strides[0]}, the teacher {strides[1]}.")
    common = class_map(student.names, teacher.names)
    if not common:
        raise ValueError(
            f"no class name is shared: the student has {list(student.names.values())[:8]}, the teacher "
            f"{list(teacher.names.values())[:8]}."
        )
    same = len(common) == len(student.names) == len(teacher.names) and all(i == j for i, j in common)
    if not same:
        LOGGER.info(
            f"Distillation: {term.spelled.name} compares {len(common)} of {len(student.names)} classes by name: "
            + ", ".join(str(student.names[i]) for i, _ in common[:12])
        )
    both = all(getattr(h, "one2one_cv2", None) is not None for h in heads)
    return ["one2many", "one2one"] if both else ["one2many"], None if same else common
