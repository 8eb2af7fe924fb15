# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a run distils: its terms and how they are weighed, as plain data; `arguments` reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ultralytics.distill.schedule import SCHEDULES
from ultralytics.distill.spelling import Spelled, parse
from ultralytics.utils import DEFAULT_CFG_DICT

# What `auto` means: terms and their gains. The feature term serves where predictions do not teach all classes.
RECIPE: dict[str, dict[str, float]] = {"feat": {"cwd": 1}, "rel": {}}
RESPONSES: dict[str, dict[str, float]] = {  # what it means for predictions, by task
    "detect": {"relative": 1, "ld": 4, "giou": 4},
    "segment": {"relative": 1, "ld": 4, "giou": 4, "mask": 1},
    "pose": {"relative": 0.25, "ld": 1, "giou": 1, "pose": 12},
    "obb": {"relative": 1, "probiou": 1},
    "classify": {"kl": 1},
    "semantic": {"cwdmap": 1},
    "depth": {"depth": 1},
}
WITHOUT_BINS = {"relative": "bckd"}  # what takes its place for a student whose boxes have no bins, as YOLO26's
NAMES = [k for k in DEFAULT_CFG_DICT if k.startswith("distill_") and k != "distill_model"]
ARGUMENTS = (*NAMES, "dfea", "dlogit", "drel", "dline", "unlabeled", "unlabeled_share")  # how a teacher teaches


class Kind(NamedTuple):
    """The arguments that name a kind's terms, and that are their gain."""

    argument: str
    gain: str


KINDS = {
    "feat": Kind("distill_feat", "dfea"),
    "logit": Kind("distill_logit", "dlogit"),
    "rel": Kind("distill_rel", "drel"),
}


@dataclass
class Term:
    """A loss and its gain.

    Attributes:
        kind (str): `feat`, `logit` or `rel`.
        spelled (Spelled): What to build.
        gain (float): Multiplier on the loss's own scale.
        auto (bool): Whether the recipe chose it; such a term is left out, with a line, where it cannot be used.
        own (float): What the recipe multiplied the given gain by.
    """

    kind: str
    spelled: Spelled
    gain: float = 1.0
    auto: bool = False
    own: float = 1.0


@dataclass
class Config:
    """What a run distils, read from the trainer's arguments.

    Attributes:
        terms (list[Term]): Feature, response and relation terms in that order.
        layers (str | list): `auto`, or (student, teacher) index pairs.
        tau (float | None): Temperature for the terms that have one; None keeps each loss's own.
        alpha (float): Share of soft against hard targets in response terms, 0 to 1.
        schedule (Spelled): The weight over the run.
        stop (int): Epochs from the end without distillation.
        balance (Spelled | None): What keeps the terms at a share of the task loss.
        module (Spelled | None): A user's own distiller in place of the terms.
        online (bool): Whether the teacher trains too.
        dline (float): Gain of the online teacher's own task loss.
        check (bool): Whether the teacher is measured before the first epoch.
        int8 (bool): Whether the report at the end measures the student in INT8 too.
        single_cls (bool): Whether the student's one class stands for all objects.
        classes (list[int] | None): Classes that are trained, if not all.
        precision (str): `auto`, `fp32`, `bf16` or `fp16` for the teacher's forward.
        imgsz (int | tuple[int, int] | None): The teacher's own image size: longer side, or height and width, in pixels.
        mean (list[float] | None): Subtracted from the teacher's images, one number or one a channel.
        std (list[float] | None): What they are divided by after that.
        data (str): The run's data and image size as a command line has them, for messages.
    """

    terms: list[Term] = field(default_factory=list)
    layers: str | list = "auto"
    tau: float | None = None
    alpha: float = 1.0
    schedule: Spelled = field(default_factory=lambda: parse("distill_schedule", "constant", SCHEDULES))
    stop: int = 0
    balance: Spelled | None = None
    precision: str = "auto"
    module: Spelled | None = None
    online: bool = False
    dline: float = 1.0
    check: bool = True
    int8: bool = False
    single_cls: bool = False
    classes: list[int] | None = None
    imgsz: int | tuple[int, int] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    data: str = ""

    @property
    def columns(self) -> list[str]:
        """Names of the loss columns in use, e.g. `["dfea_loss", "dlogit_loss"]`."""
        names = [KINDS[k].gain for k in KINDS if any(t.kind == k for t in self.terms)]
        return [f"{name}_loss" for name in names + ["dline"] * self.online]


def without_doubles(terms: list[Term]) -> list[Term]:
    """Leave out the recipe's terms that are named too, with parameters or a gain of their own."""
    named = {t.spelled.cls for t in terms if not t.auto}
    return [t for t in terms if not (t.auto and t.spelled.cls in named)]
