# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What two heads have in common: outputs, levels, branches, classes; and what keeps a term from comparing them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable  # Python 3.8 reads the type below

import torch
from torch import nn

from ultralytics.distill.config import Config, Term
from ultralytics.distill.graph import head_branches
from ultralytics.distill.heads.classes import Classes, class_map
from ultralytics.distill.upstream import WorldDetect, YOLOEDetect
from ultralytics.distill.values import refuse
from ultralytics.utils import LOGGER
from ultralytics.utils.metrics import OKS_SIGMA

Reader = Callable[[dict[str, Any]], dict[str, Any]]


class NoSharedClass(ValueError):
    """The teacher knows none of the student's classes."""


@dataclass
class Fit:
    """How a term compares two heads.

    Attributes:
        branches (list[str]): Branches that both heads have.
        classes (Classes | None): Common classes; None where both heads have the same in the same order, or none at all.
        readers (tuple): For student and teacher what brings a branch's raw output into the form that the term reads.
    """

    branches: list[str]
    classes: Classes | None = None
    readers: tuple[Reader, Reader] = field(default=(dict, dict))


def head_strides(model: nn.Module) -> list[float]:
    """Return the pixels a cell of each level of a head, or nothing for a head without levels."""
    return [float(v) for v in getattr(model.model[-1], "stride", ())]


def outputs(head: nn.Module) -> list[str]:
    """Return what a head predicts, in the words of a loss's `needs_outputs`; nothing for a head that is not known."""
    if hasattr(head, "cv2") and hasattr(head, "nc"):
        extra = {"masks": "nm", "keypoints": "kpt_shape", "angles": "ne"}
        return ["classes", "boxes", *(k for k, attribute in extra.items() if hasattr(head, attribute))]
    known = {"Classify": ["classes"], "SemanticSegment": ["classes", "class maps"], "Depth": ["depth"]}
    return known.get(type(head).__name__, [])


def fit_features(student: nn.Module, teacher: nn.Module, part: str) -> list[tuple[int, int]]:
    """Return the widths of the heads' inner features of `classes` or `boxes` at the common levels."""
    channels = []
    for model in (student, teacher):
        levels = head_branches(model.model[-1])["one2many"][part]
        widths = [next(m for m in reversed(list(x[0].modules())) if isinstance(m, nn.Conv2d)) for x in levels]
        channels.append(dict(zip(head_strides(model), (c.out_channels for c in widths))))
    return [(c, channels[1][v]) for v, c in channels[0].items() if v in channels[1]]


def require_comparable(term: Term, config: Config, student: nn.Module, teacher: nn.Module) -> None:
    """Raise a ValueError, half a sentence, where two models' predictions do not mean the same."""
    heads = student.model[-1], teacher.model[-1]
    if isinstance(heads[0], (WorldDetect, YOLOEDetect)) and not getattr(heads[0], "is_fused", False):
        raise ValueError("the student's classes are in training those of each image's own prompts.")
    for role, head in zip(("student", "teacher"), heads):
        if hasattr(head, "cv2") and head.cv2 is None:
            raise ValueError(
                f"the {role}'s head was fused for inference and has no one-to-many branch left; give the {role}'s file."
            )
    if config.imgsz is not None and getattr(term.spelled.cls, "same_grid", False):
        raise ValueError(
            f"it compares raw outputs in cells, and the teacher's are of another size: 'distill_imgsz={config.imgsz}'."
        )


def fit_response(term: Term, config: Config, student: nn.Module, teacher: nn.Module) -> Fit:
    """Return how a term compares two heads, or raise half a sentence that says what does not fit."""
    heads, loss = (student.model[-1], teacher.model[-1]), term.spelled.cls
    offered, needs = [outputs(h) for h in heads], getattr(loss, "needs_outputs", ())
    kinds = ["boxes" if "boxes" in has else type(h).__name__ for h, has in zip(heads, offered)]
    if kinds[0] != kinds[1] or not offered[0]:
        raise ValueError(f"predictions of {type(heads[0]).__name__} and {type(heads[1]).__name__} do not compare.")
    for head, has in zip(heads, offered):
        if lacking := [x for x in needs if x not in has]:
            raise ValueError(f"it needs {lacking[0]}, which {type(head).__name__} does not predict.")
    if "boxes" in offered[0]:
        _fit_anchors(loss, student, teacher)
    frozen = not config.online and teacher is not student
    readers = _reader(student, needs, False), _reader(teacher, needs, frozen)
    both = all(getattr(h, "one2one_cv2", None) is not None for h in heads)
    fit = Fit(["one2many", "one2one"] if both else ["one2many"], None, readers)
    if "classes" in offered[0]:
        fit.classes = _fit_classes(loss, config, student, teacher)
    return fit


def _fit_anchors(loss: type, student: nn.Module, teacher: nn.Module) -> None:
    """Raise a ValueError that says what keeps a loss from comparing two heads with boxes."""
    heads = student.model[-1], teacher.model[-1]
    (s, t), (a, b) = [head_strides(m) for m in (student, teacher)], [h.reg_max for h in heads]
    p, q = [h.kpt_shape[0] for h in heads] if "keypoints" in getattr(loss, "needs_outputs", ()) else (0, 0)
    exclusive, wanted, upright = (getattr(loss, k, None) for k in ("exclusive", "bins", "upright"))
    turned = [hasattr(h, "ne") for h in heads]
    crossed = getattr(loss, "needs_head", "") == "boxes"  # both boxes are of the teacher's layers: its bins and angles
    least, unlike = (b, turned[0] != turned[1]) if crossed else (min(a, b), any(turned))
    refuse({
        "it is a softmax over classes, which detectors do not have; use relative or bckd.": exclusive,
        f"it needs equal DFL bins, the student has {a} and the teacher {b}.": wanted == "dfl" and (a != b or a < 2),
        f"it needs DFL bins, the student has {a} and the teacher {b}.": wanted == "several" and least < 2,
        f"it needs equal box outputs, the student has {a} bins and the teacher {b}.": wanted == "equal" and a != b,
        "it compares upright boxes, and these are rotated; use probiou.": unlike and upright,
        f"it needs equal keypoints, the student has {p} and the teacher {q}.": p != q,
        f"the heads share no stride, the student has {s}, the teacher {t}.": not set(s) & set(t),
    })  # fmt: skip


def _fit_classes(loss: type, config: Config, student: nn.Module, teacher: nn.Module) -> Classes | None:
    """Pair the classes of two heads, or raise a ValueError if nothing matches; None where all agree in order."""
    found = pair_classes(config, student, teacher)
    if len(found.student) == 1 and getattr(loss, "exclusive", False):
        raise ValueError(
            f"it is a softmax over classes, and only one is compared ('{student.names[found.student[0]]}'); use bce."
        )
    every = list(range(len(student.names)))
    same = found.student == found.teacher == every and len(teacher.names) == len(every)
    return None if same else found


def pair_classes(config: Config, student: nn.Module, teacher: nn.Module) -> Classes:
    """Pair the classes of two models by name, or raise a NoSharedClass."""
    found = class_map(student.names, teacher.names, config.single_cls, config.classes)
    if not found.student:
        raise NoSharedClass(
            f"no class name is shared: the student has {list(student.names.values())[:8]}, the teacher "
            f"{list(teacher.names.values())[:8]}; train the teacher on this data first and give its best.pt: "
            f"yolo train model={getattr(teacher, 'pt_path', None) or 'teacher.pt'} {config.data}"
        )
    return found


def report_classes(classes: Classes, student: dict[int, str], teacher: dict[int, str]) -> None:
    """Say which classes are compared where the models' classes differ."""
    if classes.merge:
        LOGGER.info(
            f"Distillation: 'single_cls' compares the student's one class with the most confident of the teacher's "
            f"{len(teacher)} at each anchor"
        )
        return
    pairs = [f"{student[i]} ({i} <- {j})" for i, j in zip(classes.student, classes.teacher)]
    more = f" and {len(pairs) - 12} more" if len(pairs) > 12 else ""
    LOGGER.info(
        f"Distillation: the logit distillation losses compare {len(pairs)} of {len(student)} classes by name: "
        f"{', '.join(pairs[:12])}{more}"
    )


def _reader(model: nn.Module, needs: tuple[str, ...], calibrated: bool) -> Reader:
    """Return what brings the raw output of a model's head into the form that a loss with these needs reads."""
    head = model.model[-1]
    if "keypoints" in needs:
        return keypoint_reader(model)
    if "depth" in needs:
        a, b = (float(head.cal_a), float(head.cal_b)) if calibrated else (1.0, 0.0)
        return partial(read_depth, scale=a, offset=b)
    return dict


def keypoint_reader(model: nn.Module) -> Reader:
    """Return what adds `keypoints` and their `sigmas` to a branch of the raw output of a model's head."""
    head, sigmas = model.model[-1], getattr(model, "kpt_oks_sigmas", None)  # of the data's YAML
    old = type(head).__name__ != "Pose26"  # heads before YOLO26 predict half the distance from the cell's corner
    shape, factor, shift = tuple(head.kpt_shape), 2.0 if old else 1.0, -0.5 * old
    if sigmas is None:  # as upstream's criterion
        sigmas = OKS_SIGMA if shape == (17, 3) else [1 / shape[0]] * shape[0]
    # on the device once: a copy in every step would wait for a GPU
    sigmas = torch.as_tensor(sigmas, dtype=torch.float32, device=next(model.parameters()).device).flatten()
    return partial(read_keypoints, shape=shape, factor=factor, shift=shift, sigmas=sigmas)


def read_keypoints(
    branch: dict[str, Any], shape: tuple[int, int], factor: float, shift: float, sigmas: torch.Tensor
) -> dict[str, Any]:
    """Add `keypoints` (N, K, D, A), x and y in grid units from the anchor's point and the logit of visibility.

    They are made of `kpts` (N, K * D, A), whose x and y are multiplied by a factor and then shifted. `sigmas` (K,)
    say how exactly each is labelled.
    """
    raw = branch["kpts"].float().unflatten(1, shape)
    return {**branch, "keypoints": torch.cat([raw[:, :, :2] * factor + shift, raw[:, :, 2:]], 2), "sigmas": sigmas}


def read_depth(branch: dict[str, Any], scale: float, offset: float) -> dict[str, Any]:
    """Add `log_depth` (N, 1, H, W), scale * log(depth) + offset, as a finished model's calibration has it."""
    return {**branch, "log_depth": branch["depth"].float().log() * scale + offset}
