"""What a comparison says in a sentence: gain, loss or not told apart, and how many more seeds would tell.

The thresholds below were set before the runs that they judge. A score is the median over the last `LAST` epochs, since
one epoch's accuracy jumps. Intervals and tests are of paired differences, seed by seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from comparing.rows import Row, decisive, short
from comparing.table import half_width, lines
from ultralytics.distill.teacher.headroom import sentence

LAST = 5  # epochs whose average weights make a score
LEAST = 3  # seeds before anything is called a gain or a loss
ALPHA = 0.05  # two-sided
POWER = 0.8
MOST = 200  # seeds; a difference that needs more is called none
MISSING = "how many more would tell is computed by statsmodels: pip install statsmodels"


@dataclass
class Verdict:
    """What some paired differences say.

    Attributes:
        mean (float): The mean difference.
        half (float): Half of its 95 percent interval; nan for one seed.
        spread (float): The standard deviation of the differences.
        count (int): Seeds, or sets.
        least (int): How many of them have to be there before anything is told.
    """

    mean: float
    half: float
    spread: float
    count: int
    least: int = LEAST

    @property
    def word(self) -> str:
        """(str): `gain`, `loss` or `not told apart`."""
        told = self.count >= self.least and abs(self.mean) > self.half
        return ("gain" if self.mean > 0 else "loss") if told else "not told apart"

    @property
    def more(self) -> int | None:
        """(int | None): How many more would tell a difference of this size, 0 where it is told; None for too many."""
        if self.word != "not told apart":
            return 0
        return more(self.mean, self.spread, self.count) if self.count >= self.least else self.least - self.count

    def __str__(self) -> str:
        """Return e.g. `gain, +0.030 [+0.005, +0.055]`."""
        between = f" [{self.mean - self.half:+.4f}, {self.mean + self.half:+.4f}]" if self.half == self.half else ""
        return f"{self.word}, {self.mean:+.4f}{between}"

    def sentence(self, what: str) -> str:
        """Return it with how many more, seeds or data sets, it would take."""
        try:
            missing = self.more
        except ModuleNotFoundError:
            return f"{self}; {MISSING}"
        if missing == 0:
            return str(self)
        if missing is None:
            says = f"more than {MOST} {what}s would be needed to tell a difference of this size, so take it for none"
            return f"{self}; {says}"
        number = f"{missing} more {what}{'s' * (missing != 1)}"
        if self.count < self.least:
            return f"{self}; at least {number} before anything can be told"
        return f"{self}; about {number} would tell a difference of this size"


def judge(values: Sequence[float]) -> Verdict:
    """Judge paired differences of the seeds, of which there is at least one."""
    spread = stdev(values) if len(values) > 1 else math.nan
    return Verdict(mean(values), half_width(values), spread, len(values))


def more(middle: float, spread: float, count: int) -> int | None:
    """Return how many more seeds than `count` would tell a difference with a power of 80 percent; None for too many.

    By the paired t-test, and with at most `MOST` seeds in all.

    Raises:
        ModuleNotFoundError: Without statsmodels.
    """
    if middle == 0:
        return None
    from statsmodels.stats.power import TTestPower

    size, test = abs(middle) / spread, TTestPower()
    for n in range(max(count + 1, LEAST), MOST + 1):
        power = test.power(size, n, ALPHA)
        if not power < POWER:  # nan where it is so large that nothing is left to add
            return n - count
    return None


def pool(sets: Sequence[Sequence[float]]) -> Verdict:
    """Judge paired differences of several data sets, each set a draw from those that there might be.

    At least two sets with at least two seeds each. The sets' effects have a spread of their own (Paule and Mandel;
    statsmodels' estimate of DerSimonian and Laird can fall below zero), and the interval is Student's with one degree
    less than there are sets; where the sets agree by chance it is not made narrower than the seeds allow (Hartung and
    Knapp with the correction of Roever et al., 2015).

    Raises:
        ModuleNotFoundError: Without statsmodels.
    """
    import numpy as np
    from statsmodels.stats.meta_analysis import combine_effects

    effects = np.array([mean(x) for x in sets])
    variances = np.array([max(stdev(x) ** 2 / len(x), 1e-12) for x in sets])
    with np.errstate(divide="ignore"):  # its measure of how unlike the sets are, where they are alike
        found = combine_effects(effects, variances, method_re="pm", use_t=True)
    intervals = found.conf_int(alpha=ALPHA)
    half = max(float(high - low) / 2 for low, high in (intervals[1], intervals[3]))
    n = len(sets)
    return Verdict(float(found.mean_effect_re), half, float(found.sd_eff_w_re) * math.sqrt(n), n, least=2)


def sentences(rows: Sequence[Row]) -> list[str]:
    """Return what one comparison says: what there was to win, and a verdict for each method over plain and native."""
    column = decisive(rows)
    found = lines(rows, column)
    texts = _headroom(rows, column)
    for x in found:
        for base, above in x.above.items():
            if not above.values or x.method == "plain":  # native over plain is the same
                continue
            seeds = f"{len(above.values)} seed{'s' * (len(above.values) != 1)}"
            verdict = judge(above.values).sentence("seed")
            texts.append(f"{x.method} over {base}, {short(column)}, {seeds}: {verdict}")
    return texts


def pooled(groups: dict[tuple[str, ...], list[Row]]) -> list[str]:
    """Return a verdict for each method that was compared with plain on several data sets under the same conditions.

    The comparisons are as `rows.groups` sorts them; what cannot be pooled has its sentence too.
    """
    same: dict[tuple[str, ...], dict[str, list[list[float]]]] = {}
    for (data, student, _, _, split, arguments, labels), some in groups.items():
        for x in lines(some, decisive(some)):
            if len(x.above["plain"].values) > 1:
                by_data = same.setdefault((student, split, arguments, labels, x.method), {})
                by_data.setdefault(data, []).append(x.above["plain"].values)
    texts = []
    for (student, split, arguments, labels, method), by_data in same.items():
        if len(by_data) < 2:
            continue
        who = f"{method} over plain, {student}, {split} split, {arguments}" + f", labels {labels}" * (labels != "1")
        if double := [d for d, x in by_data.items() if len(x) > 1]:
            texts.append(f"{who}: not pooled, {double[0]} has several teachers; keep one file for a kind of teacher")
            continue
        try:
            verdict = pool([x[0] for x in by_data.values()])
        except ModuleNotFoundError:
            texts.append(f"{who}: not pooled, which needs statsmodels: pip install statsmodels")
            continue
        texts.append(f"{who}, {len(by_data)} data sets as a random effect: {verdict.sentence('data set')}")
    return texts


def _headroom(rows: Sequence[Row], column: str) -> list[str]:
    """Return what there was to win where teacher and plain student are known, a sentence a teacher's accuracy."""
    found = lines(rows, column)
    plain = [x for x in found if x.method == "plain"]
    by_teacher: dict[float, dict[str, float]] = {}
    for x in found:
        known = [float(r["teacher_accuracy"]) for r in rows if r["method"] == x.method and r["teacher_accuracy"]]
        if known and x.above["plain"].values:
            by_teacher.setdefault(round(mean(known), 4), {})[x.method] = x.above["plain"].mean
    return [sentence(teacher, mean(plain[0].values), won) for teacher, won in by_teacher.items()]
