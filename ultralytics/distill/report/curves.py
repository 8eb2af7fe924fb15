# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Draws how a distilled run went: losses, their weights, and how similar student and teacher have become."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ultralytics.distill.report.style import DASHES, GREY, ORANGE, below, by_epoch, colors, line
from ultralytics.distill.training.folder import SIMILARITY
from ultralytics.utils import plt_settings

WHEN = {"before": "#b8c4ce", "after": ORANGE}
LOSSES, TRAINED = "Distillation losses, unweighted", "Distillation losses, as trained"
WEIGHTS, MARGIN = "Weight of each loss", "Teacher margin (above 0: ahead of the student)"
CKA = "CKA similarity to the teacher"
APART = 30.0  # the largest curve over the smallest, from which on an axis is logarithmic
LEAST = 0.01  # weight from which on a term counts as teaching
MOST = 12  # lines with a name of their own in one panel


def read_columns(file: Path) -> dict[str, list[float]]:
    """Return the columns of a run's `results.csv`; nan where a row that was made in other terms has no value."""
    with open(file, encoding="utf-8") as f:
        rows = [{k.strip(): float(v or "nan") for k, v in row.items() if k} for row in csv.DictReader(f)]
    return {k: [r[k] for r in rows] for k in (rows[0] if rows else {})}


def write_rows(file: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV, its header first."""
    with open(file, "w", encoding="utf-8", newline="") as f:
        csv.writer(f).writerows(rows)


def term_parts(columns: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Return the unweighted terms and their parts among the columns of a run, as `cwd/P3`."""
    own = {k[8:]: v for k, v in columns.items() if k.startswith("distill/")}
    return {k: v for k, v in own.items() if not {"weight", "grad", "margin"} & set(k.split("/")[:2])}


def margins(columns: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Return the teacher's margin among a run's columns, in boxes and classes, by branch and teacher."""
    return {k[8:]: v for k, v in columns.items() if k.startswith("distill/") and "margin" in k.split("/")[1:3]}


def weights(columns: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Return what each term was multiplied by beside its gain among a run's columns."""
    return {k[15:]: v for k, v in columns.items() if k.startswith("distill/weight/")}


def taught(columns: Mapping[str, list[float]]) -> str:
    """Return one line on the epochs in which each term had a weight, and its mean; nothing where none is known."""
    epochs = [int(e) for e in columns.get("epoch", [])]
    found: dict[tuple[str, str], list[str]] = {}
    for name, values in weights(columns).items():
        on = [e for e, v in zip(epochs, values) if v >= LEAST]
        edges = [e for e in on if e - 1 not in on], [e for e in on if e + 1 not in on]
        spans = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(*edges))
        spans = f"in epochs {spans}" if spans else "in no epoch"
        known = [v for v in values if v == v]
        if known:
            found.setdefault((spans, f"{sum(known) / len(known):.2g}"), []).append(name)
    each = (f"{', '.join(n)} {spans} (mean weight {w})" for (spans, w), n in found.items())
    return f"Losses at work in {epochs[-1]} epochs: {'; '.join(each)}." if found else ""


def still_rising(columns: Mapping[str, list[float]], metric: str) -> bool:
    """Whether a run was at its best in the last tenth of its epochs."""
    values = next((v for k, v in columns.items() if k.startswith(f"metrics/{metric}")), [])
    known = [(v, i) for i, v in enumerate(values) if v == v]
    return bool(known) and max(known)[1] >= len(values) - max(len(values) // 10, 1)


def read_similarity(folder: Path) -> dict[str, dict[str, float]]:
    """Return the CKA of each layer pair, `before` and `after` the run, as far as it was measured."""
    if not (folder / SIMILARITY).is_file():
        return {}
    found: dict[str, dict[str, float]] = {}
    with open(folder / SIMILARITY, encoding="utf-8", newline="") as f:
        for row in csv.DictReader(f):
            found.setdefault(row["when"], {})[row["pair"]] = float(row["cka"])
    return found


def save_similarity(folder: Path, found: Mapping[str, Mapping[str, float]]) -> None:
    """Write the CKA of each layer pair, a row a pair and time."""
    rows = [[when, pair, f"{v:.5f}"] for when, some in found.items() for pair, v in some.items()]
    write_rows(folder / SIMILARITY, [["when", "pair", "cka"], *rows])


def lines_of(columns: Mapping[str, list[float]]) -> list[tuple[str, dict[str, list[float]]]]:
    """Return a title and its lines for each panel that a run's columns fill."""
    trained = {k[6:-5]: v for k, v in columns.items() if k.startswith("train/d") and k.endswith("_loss")}
    found = {
        LOSSES: term_parts(columns),
        TRAINED: {k: v for k, v in trained.items() if k != "dfl"},
        WEIGHTS: weights(columns),
        MARGIN: margins(columns),
    }
    return [(title, lines) for title, lines in found.items() if lines]


@plt_settings()
def plot_run(folder: Path, file: Path) -> None:
    """Draw a run from its folder: `results.csv`, and the similarity where it was measured."""
    import matplotlib.pyplot as plt  # scope for faster 'import ultralytics'

    columns = read_columns(folder / "results.csv")
    epochs, panels, alike = columns.get("epoch", []), lines_of(columns), read_similarity(folder)
    count = len(panels) + bool(alike)
    rows = 1 if count <= 3 else 2
    wide = max(-(-count // rows), 1)
    fig, grid = plt.subplots(rows, wide, figsize=(4.6 * wide, 4.2 * rows), squeeze=False, layout="constrained")
    axes = grid.flatten()
    shades = colors(_thing(title, n) for title, lines in panels for n in lines)
    for a, (title, lines) in zip(axes, panels):
        _draw_lines(a, title, epochs, lines, shades)
    if alike:
        _bars(axes[count - 1], alike)
    for a in axes[count:]:
        a.axis("off")
    fig.savefig(file, dpi=200)
    plt.close(fig)


def _thing(title: str, name: str) -> str:
    """Return what has one colour in all panels: a loss, whichever its level or branch; a kind; one of the margins."""
    if title == TRAINED:
        return name
    if title == MARGIN:  # `margin/boxes/one2many`, and with several teachers `t1/margin/boxes`
        before, _, after = name.partition("margin/")
        return f"{before}margin of {after.partition('/')[0]}"
    first, _, rest = name.partition("/")
    return f"{first}/{rest.partition('/')[0]}" if first[:1] == "t" and first[1:].isdigit() else first


def _draw_lines(
    axis: Any, title: str, epochs: list[float], lines: Mapping[str, list[float]], shades: Mapping[str, str]
) -> None:
    """Draw one panel's curves; levels and branches of one loss share its colour and differ in their dashes."""
    seen: dict[str, int] = {}
    for i, (name, values) in enumerate(lines.items()):
        thing = _thing(title, name)
        dash = DASHES[seen.get(thing, 0) % len(DASHES)]
        seen[thing] = seen.get(thing, 0) + 1
        label = name.replace("margin/", "") if i < MOST else None
        axis.plot(epochs, values, color=shades[thing], linestyle=dash, label=label, **line(epochs))
    known = [[v for v in x if v == v] for x in lines.values()]
    flat = [v for x in known for v in x]
    peaks = [max(x) for x in known if x and min(x) > 0]
    if title in {LOSSES, TRAINED} and len(peaks) == len(lines) and max(peaks) > APART * min(peaks):
        axis.set_yscale("log")
        title += " (log scale)"
    elif title == WEIGHTS:
        axis.set_ylim(-0.02, 1.02 * max([1.0, *flat]))
    elif title == MARGIN:
        axis.axhline(0, color=GREY, linewidth=1)
    elif flat and min(flat) >= 0:
        axis.set_ylim(bottom=0)
    axis.set_title(title, fontsize=12)
    axis.set_ylabel({MARGIN: "IoU (boxes), precision (classes)"}.get(title, ""), fontsize=9)
    by_epoch(axis)
    below(axis, columns=min(len(lines), 3))


def _bars(axis: Any, alike: Mapping[str, Mapping[str, float]]) -> None:
    """Draw the CKA of each layer pair before and after as bars."""
    names = list(dict.fromkeys(n for some in alike.values() for n in some))
    width = 0.8 / len(alike)
    for i, (when, some) in enumerate(alike.items()):
        places = [j + (i - (len(alike) - 1) / 2) * width for j in range(len(names))]
        values = [some.get(n, math.nan) for n in names]
        axis.bar(places, values, width, color=WHEN[when], label=when)
        for x, v in zip(places, values if len(names) <= 6 else []):
            if v == v:
                axis.text(x, min(v, 0.93) + 0.01, f"{v:.2f}", fontsize=8, ha="center")
    axis.set_xticks(range(len(names)), names, fontsize=9, rotation=0 if len(names) <= 6 else 90)
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axis.set_title(CKA, fontsize=12)
    axis.set_xlabel("feature maps, by level", fontsize=10)
    below(axis, columns=2, drop=0.2 if len(names) <= 6 else 0.38)
