# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Who is ahead on the validation set: a teacher that the student has passed teaches no more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import distributed as dist

from ultralytics.distill.world import several
from ultralytics.utils import LOGGER, RANK

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

LEVELS = {0.5: "half", 0.01: "a hundredth of"}  # a weight that falls below one of them is told


@dataclass
class Margin:
    """How far each teacher is ahead of the student's average, in the fitness by which `best.pt` is chosen.

    Both are validated on the whole validation set by the student's validator: the teachers once, before the first
    epoch, the student at each epoch's end. A teacher that is behind has weight 0 in the next epoch, any other weight 1,
    also one that is as good as the student, or is not measured. What an epoch shows is shared once, at the next one's
    first batch, so all processes weigh alike.

    Attributes:
        names (list[str]): The teachers.
        why_not (str): Why nobody is held against the student in this run; nothing where someone may be.
        teachers (list[float | None]): Fitness of each teacher, None where it is not measured.
        student (float | None): Fitness of the student's average when it was last validated.
        known (bool): Whether the teachers' fitness was taken up from a checkpoint.
    """

    names: list[str]
    why_not: str = ""
    teachers: list[float | None] = field(default_factory=list)
    student: float | None = None
    known: bool = False

    def __post_init__(self) -> None:
        """Start without having measured anyone."""
        self.teachers = self.teachers or [None] * len(self.names)

    @property
    def ahead(self) -> list[float | None]:
        """Return by how much each teacher is ahead; None where one of the two is not measured."""
        return [None if t is None or self.student is None else t - self.student for t in self.teachers]

    @property
    def weights(self) -> list[float]:
        """Return each teacher's weight: 0 for one that is behind, else 1."""
        return [0.0 if a is not None and a < 0 else 1.0 for a in self.ahead]

    def see(self, fitness: Any) -> None:
        """Take in the student's fitness at an epoch's end; None, where it was not validated, changes nothing."""
        if not self.why_not and fitness is not None and math.isfinite(fitness):
            self.student = float(fitness)

    def share(self) -> None:
        """Give every process what the first one knows, which alone has the validations' results; all must ask."""
        if not self.why_not and several():
            said = [self.state()]
            dist.broadcast_object_list(said, src=0)
            self.load_state(said[0])

    def columns(self) -> dict[str, float]:
        """Return what `results.csv` is told: `distill/margin`, or one a teacher that is measured."""
        ends = [f"/t{i}" for i in range(1, len(self.names) + 1)] if len(self.names) > 1 else [""]
        return {f"distill/margin{end}": a for end, a in zip(ends, self.ahead) if a is not None}

    def state(self) -> dict[str, Any]:
        """Return what resume needs, as plain values."""
        return {"teachers": list(self.teachers), "student": self.student}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what was known."""
        self.known = True
        self.teachers, self.student = list(state["teachers"]), state["student"]

    def describe(self) -> str:
        """Return who is behind whom; nothing where no teacher is behind."""
        behind = [f"{n} ({t:.3f})" for n, t, w in zip(self.names, self.teachers, self.weights) if not w]
        on = f"behind the student ({self.student:.3f}) on the validation set" if behind else ""
        return f"{' and '.join(behind)} {'is' if len(behind) == 1 else 'are'} {on}" if behind else ""


def make_margin(trainer: BaseTrainer, configs: Sequence[Any], sources: Sequence[Any]) -> Margin:
    """Return the margin of a run that has not begun."""
    names = [s.name for s in sources]
    if configs[0].online or sources[0].module is None:  # a teacher that follows the student is never left behind
        return Margin(names, "the teacher learns too")
    if not configs[0].check:
        return Margin(names, "'distill_check=False'")
    return Margin(names, "" if trainer.args.val else "'val=False'")


def announce(trainer: BaseTrainer) -> None:
    """Say in one sentence that the recipe's terms teach to the end, where an argument keeps them from letting go."""
    run = trainer.distill
    why = run.margin.why_not
    if RANK in {-1, 0} and why.startswith("'") and any(t.auto for c in run.configs for t in c.terms):
        LOGGER.info(f"Distillation: with {why} nobody sees whether the student passes its teacher: terms teach on.")


class Watch:
    """Tells when a group of terms first falls below a half and below a hundredth of its weight.

    Attributes:
        before (dict[str, float]): Each group's weight when last seen.
        told (set): Groups and levels that were told.
    """

    def __init__(self) -> None:
        """Start without having seen anything."""
        self.before: dict[str, float] = {}
        self.told: set[tuple[str, float]] = set()

    def see(self, weights: Mapping[str, float], schedule: float, epoch: int, factors: str) -> None:
        """Look at the weights of an epoch.

        Args:
            weights (Mapping[str, float]): Effective weight by group; the only group has no name.
            schedule (float): The schedule's part of them; one that begins low does not fall.
            epoch (int): Counted from 1.
            factors (str): Why, for the line.
        """
        fallen: dict[float, list[str]] = {}
        for name, weight in weights.items():
            before = self.before.get(name, min(schedule, 1.0))
            below = [x for x in LEVELS if weight < x <= before and (name, x) not in self.told]
            if below:
                self.told |= {(name, x) for x in below}
                fallen.setdefault(min(below), []).append(name)
            self.before[name] = weight
        for level, names in fallen.items():
            of = f" of {', '.join(names)}" if any(names) else ""
            LOGGER.info(f"Distillation: from epoch {epoch} the terms{of} teach with less than {LEVELS[level]} their "
                        f"weight ({factors})")  # fmt: skip
