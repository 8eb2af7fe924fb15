"""What a comparison says in a sentence: gain, loss or not told apart, and how many more seeds would tell.

The thresholds below were set before the runs that they judge. A score is the median over the last `LAST` epochs, since
one epoch's accuracy jumps. Intervals and tests are of paired differences, seed by seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING

from comparing.rows import decisive, short
from comparing.table import half_width, lines
from ultralytics.distill.teacher.headroom import sentence

if TYPE_CHECKING:
    from comparing.rows import Row

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
        word (str): `gain`, `loss` or `not told apart`.
        mean (float): The mean difference.
        half (float): Half of its 95 percent interval; nan for one seed.
        count (int): Seeds, or sets.
        more (int | None): How many more would tell a difference of this size, 0 where it is told; None for too many.
    """

    word: str
    mean: float
    half: float
    count: int
    more: int | None

    def __str__(self) -> str:
        """Return e.g. `gain, +0.030 [+0.005, +0.055]`."""
        between = f" [{self.mean - self.half:+.4f}, {self.mean + self.half:+.4f}]" if self.half == self.half else ""
        return f"{self.word}, {self.mean:+.4f}{between}"


def judge(values: Sequence[float]) -> Verdict:
    """Judge paired differences of the seeds.

    Args:
        values (Sequence[float]): One for each seed, at least one.

    Raises:
        ModuleNotFoundError: If they are not told apart and statsmodels, which knows how many more would do, is not
            installed.
    """
    middle, half, n = mean(values), half_width(values), len(values)
    if n >= LEAST and abs(middle) > half:
        return Verdict("gain" if middle > 0 else "loss", middle, half, n, 0)
    missing = more(middle, stdev(values), n) if n >= LEAST else LEAST - n
    return Verdict("not told apart", middle, half, n, missing)


def more(middle: float, spread: float, count: int) -> int | None:
    """Return how many more seeds would tell a difference with a power of 80 percent, by the paired t-test.

    Args:
        middle (float): The mean difference.
        spread (float): The standard deviation of the differences.
        count (int): Seeds that there are.

    Returns:
        (int | None): Seeds; None if more than `MOST` in all would be needed.

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

    The sets' effects have a spread of their own (Paule and Mandel; statsmodels' estimate of DerSimonian and Laird can
    fall below zero), and the interval is Student's with one degree
    less than there are sets; where the sets agree by chance it is not made narrower than the seeds allow (Hartung and
    Knapp with the correction of Roever et al., 2015).

    Args:
        sets (Sequence[Sequence[float]]): The differences of each set, at least two seeds in each of at least two sets.

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
    middle, n = float(found.mean_effect_re), len(sets)
    if abs(middle) > half:
        return Verdict("gain" if middle > 0 else "loss", middle, half, n, 0)
    return Verdict("not told apart", middle, half, n, more(middle, float(found.sd_eff_w_re) * math.sqrt(n), n))


def sentences(rows: Sequence[Row]) -> list[str]:
    """Return what one comparison says: what there was to win, and a verdict for each method over plain and native."""
    column = decisive(rows)
    found = lines(rows, column)
    texts = _headroom(rows, column)
    for x in found:
        for base, above in x.above.items():
            if not above.values or x.method == "plain":  # native over plain is the same
                continue
            who = f"{x.method} over {base}, {short(column)}, {_count(len(above.values), 'seed')}"
            texts.append(f"{who}: {_say(above.values)}")
    return texts


def pooled(groups: dict[tuple[str, ...], list[Row]]) -> list[str]:
    """Return a verdict for each method that was compared with plain on several data sets under the same conditions.

    Args:
        groups (dict): Comparisons, as `rows.groups` sorts them.

    Returns:
        (list[str]): A sentence each, and one for what cannot be pooled.
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
        texts.append(f"{who}, {len(by_data)} data sets as a random effect: {verdict}{_rest(verdict, 'data set')}")
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


def _say(values: Sequence[float]) -> str:
    """Return the verdict on some differences in words."""
    try:
        verdict = judge(values)
    except ModuleNotFoundError:
        half = half_width(values)
        return f"{Verdict('not told apart', mean(values), half, len(values), None)}; {MISSING}"
    return f"{verdict}{_rest(verdict, 'seed')}"


def _rest(verdict: Verdict, what: str) -> str:
    """Return how many more it would take, the rest of a sentence."""
    if verdict.more == 0:
        return ""
    if verdict.more is None:
        return f"; more than {MOST} {what}s would be needed to tell a difference of this size, so take it for none"
    if verdict.count < LEAST and what == "seed":
        return f"; at least {_count(verdict.more, 'more seed')} before anything can be told"
    return f"; about {_count(verdict.more, f'more {what}')} would tell a difference of this size"


def _count(number: int, what: str) -> str:
    """Return a number of things."""
    return f"{number} {what}{'s' * (number != 1)}"
