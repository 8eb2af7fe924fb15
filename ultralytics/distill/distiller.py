# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Aligns and losses together: what both models showed goes in, named terms come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import nn

from ultralytics.distill.base import BaseDistiller, require_scalar
from ultralytics.distill.config import KINDS, Config
from ultralytics.distill.graph import Capture, pair
from ultralytics.distill.heads.common import head_strides
from ultralytics.distill.heads.predictions import branches, scores_at
from ultralytics.distill.joint import labelled
from ultralytics.distill.losses.base import full_precision
from ultralytics.distill.terms.building import build_responses, choose_maps, fit_scores, maps_suffice, name_parts
from ultralytics.distill.terms.dense import build_dense, describe_dense
from ultralytics.distill.terms.final import FinalTerm, build_finals
from ultralytics.distill.terms.margin import build_margins
from ultralytics.distill.terms.term import UNMEASURED, MapTerm, ResponseTerm
from ultralytics.utils import LOGGER


class Distiller(BaseDistiller):
    """Compares what a student and a teacher show.

    Its parameters are the aligns' and the losses' own; neither model is among them.

    Attributes:
        terms (nn.ModuleList): The terms in use.
        branch_weights (dict[str, float]): How the student's criterion weighs each branch, 1 on average; if it does.
            A term follows its branch; those of maps follow `one2many`, whose loss alone reaches the maps.
        margins (nn.ModuleDict): How far the teacher is ahead, as `classes/one2many`, where a term's weight follows it.

    Args:
        config (Config): What to distil.
        student (nn.Module): The student, unwrapped, on its device.
        teacher (nn.Module): The teacher, unwrapped.

    Raises:
        ValueError: If layers cannot be paired, or a term that the user named cannot be used with these two models.
    """

    splits = True

    def __init__(self, config: Config, student: nn.Module, teacher: nn.Module):
        """Pair the layers and build the terms."""
        super().__init__(config, student, teacher)
        self.skipped: list[str] = []
        dense = build_dense(config, student, teacher)
        responses, whole = build_responses(config, student, teacher, self.skipped, dense)
        self.dense = dense if responses else None
        if self.dense:
            LOGGER.info(describe_dense([r.name for r in responses], student, teacher))
        unfit: list[str] = []
        maps = choose_maps(config, teacher, whole, self.skipped)
        compared = any(r.auto for r in responses) or maps_suffice(config, student, maps, self.skipped)
        finals = build_finals(config, student, teacher, compared, unfit)
        pairs = pair(student, teacher, config.layers) if maps else []
        self.pairs = [replace(p, imgsz=config.imgsz) for p in pairs]
        built: list[MapTerm | ResponseTerm | FinalTerm] = [
            *(MapTerm(t, config, self.pairs) for t in maps),
            *responses,
            *finals,
        ]
        if not built:
            why = f": {'; '.join(self.skipped + unfit)}" if self.skipped or unfit else ""
            raise ValueError(
                f"'model_t' fits none of the terms of the recipe{why}; name one in 'distill_feat', 'distill_logit' or "
                f"'distill_rel'."
            )
        self.branch_weights: dict[str, float] = {}
        device = next(student.parameters()).device
        self.terms = nn.ModuleList(built).to(device)
        self.margins = build_margins(responses, student, teacher).to(device)
        used = {t.kind for t in built}
        self.columns = [c for c in config.columns if c in {f"{KINDS[k].gain}_loss" for k in used}]
        self.parts = name_parts(built)
        self.layers = sorted({p.student for p in self.pairs}), sorted({p.teacher for p in self.pairs})
        self.needs_head = "logit" in used or any(getattr(t, "needs_scores", False) for t in built)
        fit_scores(built, self.pairs, teacher)
        self.needs_targets = bool(self.margins) or any(getattr(t, "needs_targets", False) for t in built)
        self.needs_criterion = bool(finals)
        self.needs_features = any(len(getattr(t, "aligns", ())) for t in built if t.kind == "logit")
        self.strides = head_strides(student), head_strides(teacher)  # read once: on a GPU every read waits for it
        self.unmeasured = False

    def forward(
        self, student: Capture, teacher: Capture, batch: dict[str, Any], targets: dict[str, dict[str, torch.Tensor]]
    ) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        """Compare what both models showed on a batch.

        Args:
            student (Capture): Maps and raw predictions of the student, with gradient.
            teacher (Capture): The same of the teacher, without.
            batch (dict): Upstream's batch; where it has unlabelled images, `labeled` is the number of the others, which
                come first.
            targets (dict): The student's assigned targets for each branch, where a term needs them; of the labelled
                images alone.

        Returns:
            columns (dict[str, torch.Tensor]): For each loss column the sum of its terms times their gains.
            parts (list[torch.Tensor]): The unweighted values, in the order of `self.parts`.
        """
        self.branch_weights = student.branch_weights
        s, t = branches(student.output, self.strides[0]), branches(teacher.output, self.strides[1])
        t = t or (self.dense(s, teacher, batch) if self.dense else {})
        s = {k: {**v, **targets.get(k, {}), "features": student.features.get(k)} for k, v in s.items()}
        t = {k: {**v, "features": teacher.features.get(k), "tails": teacher.tails.get(k)} for k, v in t.items()}
        if any(getattr(x, "needs_scores", False) for x in self.terms):
            batch = {**batch, "scores_at": lambda stride, size: scores_at(t, stride, size)}
        parts: list[torch.Tensor] = []
        with full_precision(batch["img"].device.type):
            for branch in dict.fromkeys(name.split("/")[1] for name in self.margins):
                first, *beside = (m for name, m in self.margins.items() if name.endswith(f"/{branch}"))
                if "assign" in s[branch]:
                    first.look(labelled(s[branch], batch), labelled(t[branch], batch), beside)
                elif torch.is_grad_enabled() and batch.get("labeled") != 0 and not self.unmeasured:
                    self.unmeasured = True
                    LOGGER.warning(UNMEASURED)
            for term in self.terms:
                branched = isinstance(term, ResponseTerm)
                values = term(s, t, batch) if branched else term(student, teacher, batch)
                for name, value in zip(self.parts[len(parts) :], values):
                    require_scalar(self, name, value)
                parts += values
        return self.add_up(parts), parts

    def add_up(self, parts: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return for each loss column the sum of its terms' parts times their gains and their branches' weights."""
        sums: dict[str, Any] = dict.fromkeys(self.columns, 0.0)
        self.total: Any = 0.0
        for part, (term, branch) in zip(parts, self._places()):
            value = term.gain * part
            self.total = self.total + value.detach()
            sums[f"{KINDS[term.kind].gain}_loss"] += prod(self._factors(term, branch).values()) * value
        return sums

    def _places(self) -> list[tuple[Any, str]]:
        """Return the term and the branch of each part."""
        return [(term, branch) for term in self.terms for branch in term.branches]

    def _factors(self, term: MapTerm | ResponseTerm | FinalTerm, branch: str) -> dict[str, Any]:
        """Return what weighs a term in a branch beside its gain."""
        found: dict[str, Any] = {"branch": self.branch_weights[branch]} if branch in self.branch_weights else {}
        if term.margin and self.margins:
            found["teacher margin"] = self.margins[f"{term.margin_of}/{branch}"].weight(term.margin)
        return found

    def term_weights(self) -> dict[str, dict[str, Any]]:
        """Return the branches' weights and the teacher's margin, by term, and by branch where a term has several."""
        places = zip(self.parts, self._places())
        return {p if t.kind == "logit" else p.rpartition("/")[0]: self._factors(t, branch) for p, (t, branch) in places}

    def unweighted_sum(self, columns: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the sum of the last batch's terms times their gains, without `term_weights`."""
        return self.total

    def notes(self) -> dict[str, float]:
        """Return how far the teacher is ahead in boxes or classes, in each branch, where a term's weight follows it."""
        several = len({k.split("/")[1] for k in self.margins}) > 1
        return {f"margin/{k if several else k.split('/')[0]}": float(m.ahead) for k, m in self.margins.items()}

    def without(self, columns: dict[str, torch.Tensor], parts: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the columns without the parts that are not finite."""
        return super().without(self.add_up([v if torch.isfinite(v) else self.nothing(v) for v in parts]), parts)

    def describe(self) -> str:
        """Return the terms with their gains and parameters."""
        return " + ".join(t.formula for t in self.terms)
