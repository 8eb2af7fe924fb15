# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Draws how a distilled run went: terms, weight, gradients, and how alike student and teacher have become."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.distill.training.folder import SIMILARITY
from ultralytics.utils import plt_settings

WHEN = {"before": "#b8c4ce", "after": "#ff7f0e"}
NO_GRADIENTS = "The terms' gradients were not measured; distill_balance=grad(clamp=1) measures and changes nothing."
LEAST = 0.01  # weight from which on a term counts as teaching
MOST = 12  # lines with a name of their own in one panel


def read_columns(file: Path) -> dict[str, list[float]]:
    """Return the columns of a run's `results.csv`; nan where a row that was made in other terms has no value."""
    with open(file, encoding="utf-8") as f:
        rows = [{k.strip(): float(v or "nan") for k, v in row.items() if k} for row in csv.DictReader(f)]
    return {k: [r[k] for r in rows] for k in (rows[0] if rows else {})}


def term_parts(columns: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Return the unweighted terms and their parts among the columns of a run, as `cwd/P3`."""
    own = {k[8:]: v for k, v in columns.items() if k.startswith("distill/")}
    return {k: v for k, v in own.items() if not {"weight", "grad", "margin"} & set(k.split("/")[:2])}


def margins(columns: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Return how far the teacher was ahead among a run's columns, in boxes and classes, by branch and teacher."""
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
        spans = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(*edges)) or "none"
        known = [v for v in values if v == v]
        if known:
            found.setdefault((spans, f"{sum(known) / len(known):.2g}"), []).append(name)
    each = (f"{', '.join(n)} in epochs {spans} (mean weight {w})" for (spans, w), n in found.items())
    return f"Taught of {epochs[-1]} epochs: {'; '.join(each)}." if found else ""


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
    with open(folder / SIMILARITY, "w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["when", "pair", "cka"])
        writer.writerows([when, pair, f"{v:.5f}"] for when, some in found.items() for pair, v in some.items())


def gradients(columns: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Return the terms' gradients over the task loss's among a run's columns, where they were measured."""
    return {k[13:]: v for k, v in columns.items() if k.startswith("distill/grad/") and any(x == x for x in v)}


def lines_of(columns: Mapping[str, list[float]]) -> list[tuple[str, dict[str, list[float]]]]:
    """Return a title and its lines for each panel that a run's columns fill."""
    trained = {k[6:]: v for k, v in columns.items() if k.startswith("train/d") and k.endswith("_loss")}
    more = {
        "weight of each term beside its gain": weights(columns),
        "gradient / task loss's gradient": gradients(columns),
        "teacher margin (IoU, precision)": margins(columns),
    }
    return [
        ("terms, unweighted", term_parts(columns)),
        ("terms as trained", {k: v for k, v in trained.items() if k != "dfl_loss"}),
        *((title, lines) for title, lines in more.items() if lines),
    ]


@plt_settings()
def plot_run(folder: Path, file: Path) -> None:
    """Draw a run from its folder: `results.csv`, and the similarity where it was measured.

    Args:
        folder (Path): The run's folder.
        file (Path): Picture to write.
    """
    import matplotlib.pyplot as plt  # scope for faster 'import ultralytics'

    columns = read_columns(folder / "results.csv")
    epochs, panels, alike = columns.get("epoch", []), lines_of(columns), read_similarity(folder)
    count = len(panels) + bool(alike)
    rows = 1 if count <= 3 else 2
    wide = -(-count // rows)
    fig, grid = plt.subplots(rows, wide, figsize=(4 * wide, 3.6 * rows), squeeze=False)
    axes = grid.flatten()
    for a, (title, lines) in zip(axes, panels):
        for i, (name, values) in enumerate(lines.items()):
            label = name if i < MOST else None
            a.plot(epochs, values, marker=".", label=label, linewidth=2, markersize=8)
        a.set_title(title, fontsize=12)
        a.set_xlabel("epoch", fontsize=10)
        a.xaxis.get_major_locator().set_params(integer=True)
        a.margins(y=0.15)  # room for the legend
        a.set_ylim(bottom=0 if all(v >= 0 or v != v for x in lines.values() for v in x) else None)
        if len(lines) > 1 or title.startswith("terms"):
            a.legend(fontsize=8)
    if alike:
        _bars(axes[count - 1], alike)
    for a in axes[count:]:
        a.axis("off")
    if not gradients(columns):
        fig.supxlabel(NO_GRADIENTS, fontsize=9)
    fig.tight_layout()
    fig.savefig(file, dpi=200)
    plt.close(fig)


def _bars(axis: Any, alike: Mapping[str, Mapping[str, float]]) -> None:
    """Draw the CKA of each layer pair before and after as bars."""
    names = list(dict.fromkeys(n for some in alike.values() for n in some))
    width = 0.8 / len(alike)
    for i, (when, some) in enumerate(alike.items()):
        places = [j + (i - (len(alike) - 1) / 2) * width for j in range(len(names))]
        values = [some.get(n, math.nan) for n in names]
        bars = axis.bar(places, values, width, color=WHEN[when], label=when)
        if len(names) <= 6:
            axis.bar_label(bars, ["" if v != v else f"{v:.2f}" for v in values], fontsize=8)
    axis.set_xticks(range(len(names)), names, fontsize=9, rotation=0 if len(names) <= 6 else 90)
    axis.set_ylim(0, 1.25)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axis.set_title("likeness to the teacher (linear CKA)", fontsize=12)
    axis.legend(fontsize=8, loc="upper right", ncols=2)
