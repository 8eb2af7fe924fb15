# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Builds the terms that fit a student and a teacher; what the recipe chose and they cannot serve is skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from ultralytics.distill.answers.final import is_final
from ultralytics.distill.config import RECIPE, WITHOUT_BINS, Config, Term, without_doubles
from ultralytics.distill.graph import Pair, head_inputs, probe
from ultralytics.distill.heads.common import (
    NoSharedClass,
    fit_features,
    fit_response,
    head_strides,
    outputs,
    report_classes,
    require_comparable,
)
from ultralytics.distill.heads.predictions import assigners
from ultralytics.distill.losses import RESPONSE
from ultralytics.distill.spelling import parse
from ultralytics.distill.terms.dense import Dense
from ultralytics.distill.terms.final import fit_instead
from ultralytics.distill.terms.term import NO_ASSIGNER, ResponseTerm
from ultralytics.utils import LOGGER


def choose_maps(config: Config, teacher: nn.Module, whole: bool, skipped: list[str]) -> list[Term]:
    """Return the feature and relation terms; the recipe's is skipped where it is not needed or has no map.

    It mostly slows the first epochs and gives no more in the end where predictions teach: docs/research/recipe.md.
    """
    maps = [t for t in config.terms if t.kind != "logit"]
    for term in (t for t in maps if t.auto):
        if whole and config.layers == "auto":
            why = "the logit distillation losses teach all classes; name it in 'distill_feat' to add it"
        elif not probe(teacher, head_inputs(teacher)):
            why = "the teacher has no feature map"
        else:
            continue
        if term.gain == RECIPE["feat"][term.spelled.name]:
            skipped.append(f"{term.spelled.name} ({why})")
        else:  # 'dfea' was given
            LOGGER.warning(f"Distillation: skipping {term.spelled.name}: {why}.")
        maps = [t for t in maps if t is not term]
    return maps


def maps_suffice(config: Config, student: nn.Module, maps: Sequence[Term], skipped: list[str]) -> bool:
    """Whether the recipe for this student is its maps alone, without `pseudo`: so for RT-DETR, docs/research/log.md."""
    asked = [t for t in config.terms if t.kind == "logit"]
    auto = any(t.auto for t in asked) and not any(t.spelled.needs("final") for t in asked)
    if found := auto and bool(maps) and is_final(student):
        head = type(student.model[-1]).__name__
        skipped.append(f"pseudo (a {head} learns more from maps alone; name it in 'distill_logit' to add it)")
    return found


def build_responses(
    config: Config, student: nn.Module, teacher: nn.Module, skipped: list[str], dense: Dense | None = None
) -> tuple[list[ResponseTerm], bool]:
    """Build the response terms that fit both heads; complain about those the user named, skip the recipe's.

    A teacher of final boxes is compared as `dense` has it.

    Returns:
        terms (list[ResponseTerm]): The terms.
        whole (bool): Whether they teach all of the student's classes, so that the recipe needs no feature term.
    """
    built, fits = [], []
    shown, seen = (dense, replace(config, imgsz=None)) if dense else (teacher, config)  # on the student's own grid
    strange: dict[str, list[str]] = {}  # what is said of terms that share no class: once, whatever their number
    asked = [t for t in config.terms if t.kind == "logit" and not t.spelled.needs("final")]
    instead = fit_instead(config, student, teacher) if any(t.auto for t in asked) else None
    if instead:
        left, head = ", ".join(t.spelled.name for t in asked if t.auto), type(teacher.model[-1]).__name__
        skipped.append(f"{left} (the teacher's {head} has no one-to-one head to teach the student's)")
        asked = [t for t in asked if not t.auto]
    for term in without_doubles([_suit(t, student) for t in asked]):
        try:
            require_comparable(term, seen, student, shown)
            fit, part = fit_response(term, seen, student, shown), getattr(term.spelled.cls, "needs_head", "")
            if part and dense:
                raise ValueError("it compares through layers of the teacher's head, of which boxes alone are known.")
            widths = fit_features(student, teacher, part) if part else ()
        except ValueError as e:
            if not term.auto:
                raise ValueError(f"'distill_logit={term.spelled.text}': {e}") from None
            if isinstance(e, NoSharedClass):
                strange.setdefault(str(e), []).append(term.spelled.name)
                continue
            skipped.append(f"{term.spelled.name} ({str(e).rstrip('.')})")
            continue
        fits.append(fit)
        used = replace(fit, classes=None) if part == "classes" else fit  # the teacher's layers predict all of its own
        response = ResponseTerm(term, config, used, len(student.names), widths)
        if response.needs_targets:
            _require_assigner(term, student, fit.branches)
        if widths and fit.classes and response.needs_targets:
            raise ValueError(
                f"'distill_logit={term.spelled.text}' mixes labels with the teacher's scores, whose classes are in "
                f"another order; leave 'distill_alpha' at 1, or train a teacher with the student's classes."
            )
        built.append(response)
    for why, left_out in strange.items():
        LOGGER.warning(f"Distillation: skipping {', '.join(left_out)}: {why}")
    if found := next((f.classes for f in fits if f.classes), None):
        report_classes(found, student.names, shown.names)
    found = found or instead
    whole = not found or len(found.student) == len(config.classes or student.names)
    return built, whole and bool(built or instead)


def fit_scores(built: Sequence[nn.Module], pairs: Sequence[Pair], teacher: nn.Module) -> None:
    """Raise unless the teacher's head has class scores at every pair's stride, where a term weighs by them."""
    head = teacher.model[-1]
    strides = head_strides(teacher) if hasattr(head, "cv2") else []
    missing = [p for p in pairs if p.strides[1] not in strides]
    if missing and (names := [t.name for t in built if getattr(t, "needs_scores", False)]):
        raise ValueError(
            f"'distill_feat={names[0]}' weighs by the teacher's class scores; {type(head).__name__} has them at "
            f"strides {strides}, layer {missing[0].teacher} has stride {missing[0].strides[1]:g}."
        )


def name_parts(built: Sequence[nn.Module]) -> list[str]:
    """Name each unweighted value; no name contains "loss", which upstream's plot would take for a loss column."""
    names: list[str] = []
    seen: dict[str, int] = {}
    for term in built:
        name = term.name.replace("loss", "term")
        seen[name] = seen.get(name, 0) + 1
        label = name if seen[name] == 1 else f"{name}{seen[name]}"
        names += [f"{label}/{p}" if p else label for p in term.parts]
    return names


def _require_assigner(term: Term, student: nn.Module, branches: Sequence[str]) -> None:
    """Raise a ValueError where a detector's criterion is seen to lack what says which anchors are labelled."""
    if "boxes" not in outputs(student.model[-1]):
        return
    try:
        criterion = getattr(student, "criterion", None) or student.init_criterion()
    except Exception:  # one that cannot be built yet; the first batch will show
        return
    if not set(branches) <= set(assigners(criterion)):
        raise ValueError(f"'distill_logit={term.spelled.text}' {NO_ASSIGNER}")


def _suit(term: Term, student: nn.Module) -> Term:
    """Return the recipe's term for a student: docs/research/recipe.md has what YOLO26 learns better from."""
    name = WITHOUT_BINS.get(term.spelled.name) if term.auto and getattr(student.model[-1], "reg_max", 2) == 1 else None
    return replace(term, spelled=parse("distill_logit", name, RESPONSE)) if name else term
