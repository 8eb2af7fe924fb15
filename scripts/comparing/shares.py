"""Accuracy over the share of the labels: the figure, and how much of the gap to all labels each method closes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from comparing.figure import WIDTH, canvas
from comparing.rows import Row, decisive, groups, short
from comparing.table import half_width, interval
from comparing.verdict import LEAST
from ultralytics.distill.report.style import of_methods

STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
MARKS = "osD^vP"
NARROW = 50  # letters of a name from which two do not stand side by side

Curve = dict[float, dict[str, float]]  # accuracy by share of the labels and seed


def sort(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return rows by a title, of each student, data set, split and set of arguments with several shares."""
    found: dict[str, list[Row]] = {}
    for (data, student, _, _, split, arguments, _), some in groups(rows).items():
        title = f"{data}, {split} split: {student} by the share of the labels, {arguments}"
        known = found.setdefault(title, [])
        known += [r for r in some if r not in known]  # plain runs stand in the comparison of each teacher
    return {title: some for title, some in found.items() if len({r["labels"] for r in some}) > 1}


def curves(rows: Sequence[Row]) -> dict[str, Curve]:
    """Return a curve a method and teacher, plain first; the accuracy is the score where all rows have it."""
    column = decisive(rows)
    found: dict[str, Curve] = {}
    several = len({r["teacher"] for r in rows if r["teacher"]}) > 1
    for row in sorted(rows, key=lambda r: r["method"] != "plain"):
        name = f"{row['method']} <- {row['teacher']}" if several and row["teacher"] else row["method"]
        found.setdefault(name, {}).setdefault(float(row["labels"]), {})[row["seed"]] = float(row[column])
    return found


def sentences(rows: Sequence[Row]) -> list[str]:
    """Return at each share what plain lacks to all labels, and how much of that each method closes, seed by seed."""
    found = curves(rows)
    plain = found.pop("plain", {})
    texts = []
    for share in sorted(x for x in plain if x < 1):
        seeds = [s for s in plain[share] if s in plain.get(1.0, {})]
        if not seeds:
            continue
        gap = mean(plain[1.0][s] - plain[share][s] for s in seeds)
        text = f"labels of {share:.0%}: plain {mean(plain[share].values()):.4f}, {gap:.4f} below all labels"
        for name, curve in found.items():
            won = [v - plain[share][s] for s, v in curve.get(share, {}).items() if s in plain[share]]
            if won:
                closes = f", {mean(won) / gap:.0%} of the gap" if gap > 0 else ""
                text += f"; {name} {interval(won)}{closes}"
        texts.append(text)
    return texts


def draw(rows: Sequence[Row], title: str, file: Path) -> None:
    """Draw a line a method over the share of the labels, with its 95 percent interval as a band from three seeds on."""
    found = curves(rows)
    shares = sorted({x for curve in found.values() for x in curve})
    with canvas(file, (8, 6.8), lines="both") as (fig, ((axis,),)):
        shades = of_methods(found)
        for i, (name, curve) in enumerate(found.items()):
            x = sorted(curve)
            values = [list(curve[s].values()) for s in x]
            look: dict[str, Any] = {"color": shades[name], "linestyle": STYLES[i % len(STYLES)]}
            middle = [mean(v) for v in values]
            axis.plot(x, middle, marker=MARKS[i % len(MARKS)], linewidth=2, markersize=7, label=name, zorder=3, **look)
            halves = [half_width(v) if len(v) >= LEAST else 0.0 for v in values]
            if any(halves) and len(x) == 1:
                axis.errorbar(x, middle, halves, capsize=4, color=look["color"])
            elif any(halves):
                low, high = [m - h for m, h in zip(middle, halves)], [m + h for m, h in zip(middle, halves)]
                axis.fill_between(x, low, high, color=look["color"], alpha=0.13, linewidth=0)
                for edge in (low, high):
                    axis.plot(x, edge, linewidth=0.6, alpha=0.7, **look)
        axis.set_xscale("log")
        axis.set_xticks(shares, [f"{s:.0%}" for s in shares])
        axis.minorticks_off()
        bottom, top = axis.get_ylim()
        axis.set_ylim(max(bottom, 0), min(top, 1))
        axis.set_xlabel("share of the training images with labels")
        axis.set_ylabel(short(decisive(rows)).replace("score", "score: main metric, median of the last epochs"))
        columns = 2 if max(map(len, found)) < NARROW else 1
        fig.legend(loc="outside lower center", fontsize=9, frameon=False, handlelength=4, ncols=columns)
        counts = sorted({len(v) for curve in found.values() for v in curve.values()})
        seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seeds"
        said = f"a point is the mean of {seeds}, a band or a bar its 95 percent interval"
        fig.suptitle(f"{textwrap.fill(title, WIDTH)}\n{said}", fontsize=9)
