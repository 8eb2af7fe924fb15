"""What rows say: means, paired differences with their 95 percent intervals, wins, and epoch times."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from comparing.rows import Row, metrics, short, shown

NEEDED = 'intervals over several seeds need packages: pip install "statsmodels>=0.14"'  # without scipy
LEFT = {0, 1, 4, 6}  # columns of the table that are text


def half_width(values: Sequence[float]) -> float:
    """Return half of the 95 percent interval of a mean, by Student's t; nan for less than two values."""
    if len(values) < 2:
        return math.nan
    from scipy.stats import sem, t

    return float(t.ppf(0.975, len(values) - 1) * sem(values))


def interval(values: Sequence[float], digits: int = 4, least: int = 2) -> str:
    """Return the mean of differences with its interval where there are enough, e.g. `+0.0210 [+0.0040, +0.0380]`."""
    if not values:
        return ""
    middle, half = mean(values), half_width(values) if len(values) >= least else math.nan
    between = f" [{middle - half:+.{digits}f}, {middle + half:+.{digits}f}]" if half == half else ""
    return f"{middle:+.{digits}f}{between}"


@dataclass
class Difference:
    """What one method has above another: a value for each seed that both have."""

    values: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """The mean difference; nan without a common seed."""
        return mean(self.values) if self.values else math.nan

    @property
    def wins(self) -> str:
        """Seeds with a difference above zero, of all."""
        return f"{sum(v > 0 for v in self.values)}/{len(self.values)}" if self.values else ""

    def __str__(self) -> str:
        """Return the mean with its interval."""
        return interval(self.values)


@dataclass
class Line:
    """One method's line of the table.

    Attributes:
        method (str): Its name.
        values (list[float]): The metric for each of its seeds.
        above (dict[str, Difference]): What it has above `plain` and `native`.
        time (float): Its epoch's time over plain's, the mean of the seeds; nan where unknown.
        passes (float): Share of the epochs after which it is above plain's final value for the first time, the mean of
            the seeds whose epochs were validated; nan where none was.
    """

    method: str
    values: list[float]
    above: dict[str, Difference]
    time: float
    passes: float


def lines(rows: Sequence[Row], metric: str) -> list[Line]:
    """Return the lines of one metric: plain, native, then the others in their order."""
    by: dict[str, dict[str, Row]] = {}
    for row in rows:
        by.setdefault(row["method"], {})[row["seed"]] = row
    order = [m for m in ("plain", "native") if m in by] + [m for m in by if m not in {"plain", "native"}]
    found = []
    for method in order:
        runs = {s: by[method][s] for s in sorted(by[method], key=int)}
        above = {}
        for other in ("plain", "native"):
            pairs = [(r, by[other][s]) for s, r in runs.items() if other != method and s in by.get(other, {})]
            above[other] = Difference([float(a[metric]) - float(b[metric]) for a, b in pairs])
        clock = "epoch_processor" if all(r["machine"] == "CPU" for r in rows) else "epoch_seconds"
        times = [float(r[clock]) / float(by["plain"][s][clock]) for s, r in runs.items() if s in by.get("plain", {})]
        values = [float(r[metric]) for r in runs.values()]
        late = []
        if metric == metrics(rows[0])[0] and rows[0]["split"] == "val":  # which the curve is of
            plain = by.get("plain", {})
            late = [passes(r, float(plain[s][metric])) for s, r in runs.items() if r.get("curve") and s in plain]
        share = mean(late) if late else math.nan
        found.append(Line(method, values, above, mean(times) if times else math.nan, share))
    return found


def passes(row: Row, goal: float) -> float:
    """Return the share of the epochs after which a run is above plain's last value; one epoch more if never."""
    values = [float(v) for v in row["curve"].split()]
    return next((i for i, v in enumerate(values, 1) if v > goal), len(values) + 1) / len(values)


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """Return the table of one comparison, its head first."""
    head = ["metric", "method", "seeds", "mean", "- plain [95%]", "wins", "- native [95%]", "wins", "epoch / plain"]
    head += ["passes plain after"]
    body = []
    for metric in shown(rows):
        for x in lines(rows, metric):
            gains = [c for other in ("plain", "native") for c in (str(x.above[other]), x.above[other].wins)]
            time = f"{x.time:.2f}" if x.time == x.time else ""
            late = f"{x.passes:.0%}" if x.passes == x.passes and x.method != "plain" else ""
            body.append([short(metric), x.method, str(len(x.values)), f"{mean(x.values):.4f}", *gains, time, late])
    return [head, *body]


def title(key: Sequence[str]) -> str:
    """Return what one comparison compares, in a line."""
    data, student, teacher, sha, split, arguments, labels = key
    who = f"{student} <- {teacher}" + f" ({sha})" * bool(sha) if teacher else student
    return f"{data}, {split} split: {who}, {arguments}" + f", labels of {float(labels):.0%}" * (labels != "1")


def pictures(stem: str, keys: Sequence[Sequence[str]]) -> list[str]:
    """Return unlike names of each comparison's picture: what it compares, with a number where that does not tell."""
    names: list[str] = []
    for data, student, teacher, _, split, *_ in keys:
        place = Path(data).parent.name or Path(data).stem
        parts = [stem, place, Path(student).stem, Path(teacher).stem, split * (split != "val")]
        name = re.sub(r"[^\w.-]+", "_", "-".join(x for x in parts if x))
        count = sum(re.fullmatch(rf"{re.escape(name)}(-\d+)?\.png", x) is not None for x in names)
        names.append(f"{name}-{count + 1}.png" if count else f"{name}.png")
    return names


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return what a reader of the figures has to know: unlike images, resumed runs, changed recipes."""
    found = []
    for seed in sorted({r["seed"] for r in rows}, key=int):
        seen: dict[str, list[str]] = {}
        for row in (r for r in rows if r["seed"] == seed):
            seen.setdefault(row["seen"], []).append(row["method"])
        if len(seen) > 1:
            found.append(f"seed {seed}: not all saw the same images: {' / '.join(', '.join(x) for x in seen.values())}")
    resumed = [f"{r['method']} seed {r['seed']}" for r in rows if r["resumed"] != "0"]
    found += [f"resumed after an interruption: {', '.join(resumed)}"] * bool(resumed)
    steps = {r["steps"] for r in rows if r["steps"]}
    found += [f"optimisation steps: {' or '.join(sorted(steps, key=int))}"] * bool(steps)
    for method in dict.fromkeys(r["method"] for r in rows):
        formulas = {r["formula"] for r in rows if r["method"] == method}
        found += [f"{method} means several formulas: {' / '.join(sorted(formulas))}"] * (len(formulas) > 1)
    return found
