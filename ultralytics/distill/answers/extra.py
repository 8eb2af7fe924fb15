# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What detectors say of an object beside its box and its classes: a mask, keypoints, an angle."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from ultralytics.distill.answers.foreign import Detections
from ultralytics.distill.answers.recorded import Recorded
from ultralytics.distill.heads.common import Reader, keypoint_reader, outputs


@dataclass(frozen=True)
class Extra:
    """What a model says of each object.

    Attributes:
        name (str): `masks`, `keypoints` or `angles`; nothing where it has boxes alone.
        points (int): Keypoints of an object.
        read (Reader): Brings a branch of its predictions into the form in which they are read.
    """

    name: str = ""
    points: int = 0
    read: Reader = field(default=dict, compare=False)


def extra_of(model: nn.Module) -> Extra:
    """Return what a model says of each object beside its box."""
    if isinstance(model, Recorded):
        return Extra(model.table.extra, model.table.keypoints.shape[1])
    head = model.model[-1]
    if isinstance(head, Detections):
        return Extra(head.extra, head.points)
    name = next(iter(outputs(head)[2:]), "")
    return Extra(name, head.kpt_shape[0], keypoint_reader(model)) if name == "keypoints" else Extra(name)


def shared_extra(student: nn.Module, teacher: nn.Module) -> Extra:
    """Return what a teacher says of each object that its student can learn, with the reader of the teacher.

    Raises:
        ValueError: If one of them has rotated boxes and the other upright ones; half a sentence.
    """
    wanted, given = extra_of(student), extra_of(teacher)
    if (wanted.name == "angles") != (given.name == "angles"):
        kinds = ["rotated" if x.name == "angles" else "upright" for x in (wanted, given)]
        raise ValueError(f"the student's boxes are {kinds[0]} and the teacher's {kinds[1]}; give one of its own task.")
    return given if wanted == given else Extra()


def describe_lack(student: nn.Module, teacher: nn.Module) -> str:
    """Return what of a student's the teacher cannot teach and why, in a few words; nothing where there is no such."""
    wanted, given = extra_of(student), extra_of(teacher)
    if not wanted.name or wanted == given:
        return ""
    if wanted.name == given.name:
        counts = f"the teacher has {given.points} and the student {wanted.points}"
        return f"keypoints are learnt from the labels, since {counts}"
    return f"{wanted.name} are learnt from the labels, since the teacher has none"
