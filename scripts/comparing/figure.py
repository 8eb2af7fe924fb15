"""The figure of a comparison: each seed a dot, means and their 95 percent intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

from comparing.rows import Row, short, shown
from comparing.table import Line, half_width, lines
from comparing.verdict import LEAST
from ultralytics.distill.report.style import of_methods

WIDTH = 100  # characters of a line of the title
LABEL = 36  # characters of a method's name in a line; its arguments break at spaces


@contextmanager
def canvas(file: Path, size: tuple[float, float], grid: tuple[int, int] = (1, 1), lines: str = "x") -> Iterator[Any]:
    """Give a figure and its panels, of which only the lower side, or for `both` lines the left one too, is drawn.

    It is written to the file at the end.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(*grid, figsize=size, squeeze=False, sharey=True, layout="constrained")
    for axis in axes.flat:
        axis.grid(axis=lines, color="#e5e8eb")
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"] if lines == "x" else ["top", "right"]].set_visible(False)
        axis.tick_params(left=lines != "x")
    yield fig, axes
    fig.savefig(file, dpi=130)
    plt.close(fig)


def draw(rows: Sequence[Row], title: str, file: Path) -> None:
    """Draw each metric's values and, beside them, the paired differences to plain, or to native if none has plain."""
    columns = shown(rows)
    methods = [x.method for x in lines(rows, columns[0])]
    colors = of_methods(methods)
    size = (11, (0.5 * len(methods) + 1.3) * len(columns) + 0.8)
    with canvas(file, size, (len(columns), 2)) as (fig, axes):
        for (left, right), metric in zip(axes, columns):
            found = lines(rows, metric)
            base = _base(found)
            for y, x in enumerate(found):
                _dots(left, x.values, y, colors[x.method])
                _dots(right, x.above[base].values, y, colors[x.method])
            name = short(metric)
            left.set_title(name, fontsize=11, loc="left")
            right.set_title(f"{name}: difference to {base}, seed by seed", fontsize=11, loc="left")
            right.axvline(0, color="#57606a", linewidth=1)
            labels = [textwrap.fill(f"{x.method}  ({len(x.values)})", LABEL, break_on_hyphens=False) for x in found]
            left.set_yticks(range(len(found)), labels)
            left.set_ylim(len(found) - 0.4, -0.6)
            left.margins(x=0.08)
            right.margins(x=0.08)
        fig.suptitle(textwrap.fill(title, WIDTH), fontsize=9, x=0.01, ha="left", color="#57606a")
        says = f"a dot is a seed, the bar their mean; from {LEAST} seeds on with the 95 percent interval"
        fig.supxlabel(says, fontsize=9, color="#57606a")


def _base(found: Sequence[Line]) -> str:
    """Return what differences are shown to: plain, unless only native shares seeds with another method."""
    return next((b for b in ("plain", "native") if any(x.above[b].values for x in found)), "plain")


def _dots(axis: Any, values: Sequence[float], y: float, color: str) -> None:
    """Draw one method's dots, and above them its mean with the interval."""
    if not values:
        return
    half = half_width(values) if len(values) >= LEAST else None
    axis.plot(values, [y + 0.14] * len(values), "o", color=color, alpha=0.55, markersize=6, markeredgewidth=0)
    error = None if half is None else [half]
    axis.errorbar([mean(values)], [y - 0.14], xerr=error, fmt="|", color=color, markersize=13, capsize=4, linewidth=2.5)
