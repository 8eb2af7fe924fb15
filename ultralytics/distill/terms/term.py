# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""One term of the distillation loss: the losses of its layer pairs or head branches, built from a spelling."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from ultralytics.distill.align import Align
from ultralytics.distill.config import KINDS, Config, Term
from ultralytics.distill.graph import Capture, Pair
from ultralytics.distill.heads.classes import label_scores, select_classes
from ultralytics.distill.heads.common import Fit
from ultralytics.distill.heads.predictions import match_levels
from ultralytics.distill.joint import filled, labelled
from ultralytics.distill.losses.analytic import precompute_gradient
from ultralytics.distill.losses.response import ClassLoss
from ultralytics.distill.runtime.errors import TermError
from ultralytics.distill.spelling import build_spelled, parameters_of
from ultralytics.utils import LOGGER

NO_ASSIGNER = (
    "reads which anchors are labelled, and the student's criterion has no label assigner that is called and answers as "
    "upstream's; give it one as 'assigner', or leave 'distill_alpha' at 1 and 'norm' at conf."
)

UNMEASURED = (
    "Distillation: the student's criterion has no label assigner that is called and answers as upstream's, so the "
    "teacher margin is not measured and each term keeps its whole weight; give it one as 'assigner'."
)


def build_loss(term: Term, config: Config, channels: tuple[int, int] | None = None) -> nn.Module:
    """Build one loss of a term; a ValueError names the argument where the constructor refuses its parameters."""
    spelled, (channels_s, channels_t) = term.spelled, channels or (None, None)
    if spelled.instance is not None:
        return deepcopy(spelled.instance)
    known = {"alpha": config.alpha, "tau": config.tau, "channels_s": channels_s, "channels_t": channels_t}
    wanted = [k for k in parameters_of(spelled.cls) or [] if known.get(k) is not None]
    return build_spelled(KINDS[term.kind].argument, spelled, **{k: known[k] for k in wanted})


class MapTerm(nn.Module):
    """A feature or relation term: one loss, and one align where it wants it, for each layer pair."""

    def __init__(self, term: Term, config: Config, pairs: Sequence[Pair]):
        """Build the losses and aligns."""
        super().__init__()
        self.kind, self.name, self.gain, self.pairs = term.kind, term.spelled.name, term.gain, list(pairs)
        self.margin = 0.0
        fits = term.kind == "feat"
        self.losses = nn.ModuleList()
        self.aligns = nn.ModuleList()
        for p in pairs:
            project = fits and bool(getattr(term.spelled.cls, "align", True))
            loss = build_loss(term, config, (p.channels[project], p.channels[1]))
            project = fits and bool(getattr(loss, "align", True))  # a parameter may decide, as `at(over=channel)` does
            self.losses.append(loss)
            self.aligns.append(Align(*p.channels, project=project, norm=getattr(loss, "norm", "none")))
        self.needs_scores = term.spelled.needs("needs_scores")
        self.labelled_only = any(getattr(x, "needs_labels", False) for x in self.losses)
        self.parts, self.branches = [p.name for p in pairs], ["one2many"] * len(pairs)  # the only one behind the maps
        self.formula = describe(term, self.losses[0])

    def forward(self, student: Capture, teacher: Capture, batch: dict[str, Any]) -> list[torch.Tensor]:
        """Return the loss of each pair, unweighted."""
        if self.labelled_only and batch.get("labeled") == 0:
            return nothing_to_say(self.parts, batch)
        values = []
        for p, align, loss in zip(self.pairs, self.aligns, self.losses):
            s, t = student.maps[p.student], teacher.maps[p.teacher]
            more = {"teacher_scores": batch["scores_at"](p.strides[1], s.shape[2:])} if self.needs_scores else {}
            s, t, seen = readable(self, s, t, {**batch, **more})

            def compare(x: torch.Tensor, align: Any = align, loss: Any = loss, t: Any = t, seen: Any = seen) -> Any:
                return loss(*align(x, t), seen)

            values.append(precompute_gradient(compare, s, nn.ModuleList([align, loss])))
        return values


class ResponseTerm(nn.Module):
    """A response term: one loss for each branch that both heads have.

    Args:
        term (Term): The loss and its gain.
        config (Config): The run's configuration.
        fit (Fit): Branches, classes and readers of the two heads.
        count (int): Classes of the student.
        widths (Sequence[tuple[int, int]]): Student and teacher width of the heads' inner features, for a loss that
            compares through them.
    """

    def __init__(self, term: Term, config: Config, fit: Fit, count: int = 0, widths: Sequence[tuple[int, int]] = ()):
        """Build the losses."""
        super().__init__()
        self.kind, self.name, self.gain, self.branches = term.kind, term.spelled.name, term.gain, fit.branches
        self.auto = term.auto
        self.readers, self.count, self.merge = fit.readers, count, bool(fit.classes and fit.classes.merge)
        self.losses = nn.ModuleList(build_loss(term, config) for _ in self.branches)
        self.needs_targets = any(getattr(x, "needs_targets", False) for x in self.losses)
        mixes = isinstance(self.losses[0], ClassLoss)  # takes the teacher's word where there is no label
        self.labelled_only = getattr(self.losses[0], "needs_labels", False) or (self.needs_targets and not mixes)
        self.margin = float(getattr(self.losses[0], "margin", 0))
        if hasattr(self.losses[0], "lead"):  # what the first version called it
            LOGGER.warning(f"'distill_logit={term.spelled.text}': its 'lead' has no effect; call it 'margin'.")
        self.margin_of = getattr(self.losses[0], "margin_of", "boxes")
        self.part = getattr(self.losses[0], "needs_head", "")
        self.aligns = nn.ModuleDict({k: nn.ModuleList(Align(*w) for w in widths) for k in self.branches if widths})
        for side in ("student", "teacher"):
            index = torch.tensor(getattr(fit.classes, side)) if fit.classes else None
            self.register_buffer(f"index_{side[0]}", index, persistent=False)
        self.parts = list(self.branches) if len(self.branches) > 1 else [""]
        self.formula = describe(term, self.losses[0])

    def forward(self, student: dict[str, dict], teacher: dict[str, dict], batch: dict[str, Any]) -> list[torch.Tensor]:
        """Return the loss of each branch, unweighted."""
        if self.labelled_only and batch.get("labeled") == 0:
            return nothing_to_say(self.parts, batch)
        values = []
        for name, loss in zip(self.branches, self.losses):
            s, t, seen = readable(self, student[name], teacher[name], batch)
            if self.part:
                s, t = ({**x, "head": x["features"][self.part]} for x in (s, t))
                t["tail"] = t["tails"][self.part]
            s, t = match_levels(s, select_classes(t, self.index_t, self.merge))
            if self.part:
                pairs = [f(a, b) for f, a, b in zip(self.aligns[name], s["head"], t["head"])]
                s, t = {**s, "head": [a for a, _ in pairs]}, {**t, "head": [b for _, b in pairs]}
            s = select_classes(s, self.index_s)
            if self.needs_targets and "target_scores" not in s:
                self._require_labels(s, batch)
                s["target_scores"] = label_scores(s["scores"], self.count, batch, self.index_s)[: batch.get("labeled")]
            if self.needs_targets and len(s["target_scores"]) < len(s["scores"]):  # the teacher's word alone there
                s = {**s, **{k: filled(s[k], len(s["scores"])) for k in ("target_scores", "fg_mask") if k in s}}
            values.append(loss(*(read(x) for read, x in zip(self.readers, (s, t))), seen))
        return values

    def _require_labels(self, s: dict[str, Any], batch: dict[str, Any]) -> None:
        """Raise a TermError where nothing says what the labels of a branch's scores are."""
        if s["scores"].ndim == 3:
            raise TermError(f"the distillation term '{self.name}' {NO_ASSIGNER}")
        key = "cls" if s["scores"].ndim == 2 else "semantic_mask"
        if key not in batch:
            raise TermError(
                f"the distillation term '{self.name}' reads labels, and the batch has no '{key}' but {sorted(batch)}; "
                f"leave 'distill_alpha' at 1, or give the batch its labels."
            )


def readable(term: Any, student: Any, teacher: Any, batch: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Return what a term is shown of both models and of the batch: of labelled images alone where it reads labels."""
    if not term.labelled_only:
        return student, teacher, batch
    per_image: dict[str, Any] = {k: labelled(batch[k], batch) for k in ("img", "teacher_scores") if k in batch}
    return labelled(student, batch), labelled(teacher, batch), {**batch, **per_image}


def nothing_to_say(parts: Sequence[str], batch: dict[str, Any]) -> list[torch.Tensor]:
    """Return what is no number for each part of a term that reads labels, for images without."""
    return [batch["img"].new_full((), float("nan")) for _ in parts]


def describe(term: Term, loss: nn.Module) -> str:
    """Return a term as it stands in the printed formula, e.g. `1 x cwd(tau=1, norm=batch)`, without what is off."""
    shown = []
    for name in parameters_of(type(loss)) or []:
        value = getattr(loss, name, None)
        if value is not False and isinstance(value, (int, float, str)) and not name.startswith("channels_"):
            shown.append(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}")
    return f"{term.gain:g} x {term.spelled.name}({', '.join(shown)})"
