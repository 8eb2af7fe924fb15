# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The term that compares final boxes, and what keeps it from comparing two models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ultralytics.distill.answers.extra import describe_lack, shared_extra
from ultralytics.distill.answers.final import FinalBoxes, is_detector, is_final
from ultralytics.distill.answers.recorded import Recorded
from ultralytics.distill.config import Config, Term
from ultralytics.distill.graph import Capture
from ultralytics.distill.heads.classes import Classes
from ultralytics.distill.heads.common import NoSharedClass, pair_classes, require_comparable
from ultralytics.distill.heads.predictions import assigners
from ultralytics.distill.losses import FINAL
from ultralytics.distill.spelling import parse
from ultralytics.distill.terms.criterion import matches
from ultralytics.distill.terms.term import build_loss, describe
from ultralytics.utils import LOGGER


def build_finals(
    config: Config, student: nn.Module, teacher: nn.Module, compared: bool, unfit: list[str]
) -> list[FinalTerm]:
    """Build the terms on final boxes: those the user named, and the recipe's where nothing else of it compares.

    The recipe's that does not fit is added to `unfit`, with the reason: worth a word where nothing else fits either.

    Returns:
        (list[FinalTerm]): The terms.

    Raises:
        ValueError: If one that the user named does not fit the two models.
    """
    named = [t for t in config.terms if t.kind == "logit" and t.spelled.needs("final")]
    autos = [t for t in config.terms if t.kind == "logit" and t.auto]
    if autos and not named and not compared:
        gain = autos[0].gain / autos[0].own  # as given
        named = [replace(autos[0], spelled=parse("distill_logit", "pseudo", FINAL), gain=gain)]
    built = []
    for term in named:
        try:
            built.append(FinalTerm(term, config, student, teacher))
        except ValueError as e:
            if isinstance(teacher, Recorded):
                raise ValueError(f"'model_t={teacher.path}': {e}") from None
            if not term.auto:
                raise ValueError(f"'distill_logit={term.spelled.text}': {e}") from None
            unfit.append(f"{term.spelled.name} ({str(e).rstrip('.')})")
            continue
        if term.auto:
            LOGGER.info(f"Distillation: {term.spelled.name} takes their place: the teacher's boxes are second labels.")
            if is_final(student):
                LOGGER.warning(
                    f"Distillation: with {term.spelled.name} alone a {type(student.model[-1]).__name__} was worse than "
                    f"a plain training in our runs; compare with one, or let a running teacher teach by 'distill_feat'."
                )
        if lack := describe_lack(student, teacher):
            LOGGER.info(f"Distillation: {term.spelled.name} teaches boxes and classes; {lack}.")
    return built


def fit_instead(config: Config, student: nn.Module, teacher: nn.Module) -> Classes | None:
    """Return the shared classes where final boxes are the recipe because only the student has a one-to-one head.

    The student's own assigners give them to both of its heads: docs/research/log.md has what YOLO26 gains by it.

    Args:
        config (Config): The run's configuration.
        student (nn.Module): The student, unwrapped.
        teacher (nn.Module): The teacher, unwrapped.

    Returns:
        (Classes | None): The classes; None where the heads have the same branches, or final boxes do not fit.
    """
    if [getattr(m.model[-1], "one2one_cv2", None) is None for m in (student, teacher)] != [False, True]:
        return None
    try:
        return fit(Term("logit", parse("distill_logit", "pseudo", FINAL)), config, student, teacher)
    except ValueError:
        return None


class FinalTerm(nn.Module):
    """A term on final boxes: one loss, whatever the heads and their branches.

    Args:
        term (Term): The loss and its gain.
        config (Config): The run's configuration.
        student (nn.Module): The student, unwrapped.
        teacher (nn.Module): The teacher, unwrapped.

    Raises:
        ValueError: If one of the two has no final boxes; half a sentence.
    """

    def __init__(self, term: Term, config: Config, student: nn.Module, teacher: nn.Module):
        """Pair the classes and build the loss."""
        super().__init__()
        classes, extra = fit(term, config, student, teacher), shared_extra(student, teacher)
        self.kind, self.name, self.gain = term.kind, term.spelled.name, term.gain
        self.losses = nn.ModuleList([build_loss(term, config)])
        self.reader = FinalBoxes(classes, len(student.names), self.losses[0].conf, teacher, extra)
        self.parts, self.branches, self.margin, self.formula = [""], [""], 0.0, describe(term, self.losses[0])

    def forward(self, student: Capture, teacher: Capture, batch: dict[str, Any]) -> list[torch.Tensor]:
        """Return the loss, unweighted."""
        if "labeled" in batch:  # the criterion was given the labelled images alone
            student.criterion.see(student.output)
        return [self.losses[0](student.criterion, self.reader(teacher, batch), batch)]


def fit(term: Term, config: Config, student: nn.Module, teacher: nn.Module) -> Classes:
    """Return which classes two detectors share.

    Args:
        term (Term): The term.
        config (Config): The run's distillation arguments.
        student (nn.Module): The student, unwrapped.
        teacher (nn.Module): The teacher, unwrapped.

    Returns:
        (Classes): The classes.

    Raises:
        ValueError: Half a sentence that says what does not fit.
    """
    require_comparable(term, config, student, teacher)
    for role, model in (("student", student), ("teacher", teacher)):
        if not is_detector(model.model[-1]) and not isinstance(model, Recorded):
            raise ValueError(f"it needs final boxes, and the {role}'s {type(model.model[-1]).__name__} has none.")
    shared_extra(student, teacher)
    criterion = getattr(student, "criterion", None) or student.init_criterion()
    if not matches(criterion) and not assigners(criterion):
        raise ValueError(
            "the student's criterion has no label assigner that is called and answers as upstream's; give it one as "
            "'assigner'."
        )
    try:
        return pair_classes(config, student, teacher)
    except NoSharedClass as e:
        if not isinstance(teacher, Recorded):
            raise
        raise NoSharedClass(f"{str(e).partition(';')[0]}; give the answers for this data.") from None
