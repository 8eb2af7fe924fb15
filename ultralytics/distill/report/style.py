# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What the pictures share: one colour for one thing, whole epochs, accuracies that end at 1.

The colours are those of Okabe and Ito (jfly.uni-koeln.de/color), which stay apart for every kind of colour vision.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any

BLUE, ORANGE, YELLOW, GREY = "#0072B2", "#E69F00", "#F0E442", "#6f6f6f"
MODELS = {"teacher": GREY, "plain": BLUE, "native": "#CC79A7", "ours": ORANGE, "distilled": ORANGE, "student": ORANGE}
LINES = (BLUE, ORANGE, "#56B4E9", "#CC79A7", "#D55E00", "#009E73", GREY, "#000000")
DASHES = ("-", "--", ":", "-.")
DOTTED = 40  # epochs up to which each has a dot


def colors(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name, by the order in which they first appear."""
    return {n: LINES[i % len(LINES)] for i, n in enumerate(dict.fromkeys(names))}


def of_methods(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each way of training: its own where it has one, the first other one is ours."""
    names = list(dict.fromkeys(names))
    free = [c for c in (ORANGE, *LINES) if c not in {MODELS.get(n) for n in names}]
    free = list(dict.fromkeys(free)) or list(LINES)
    others = [n for n in names if n not in MODELS]
    return {n: MODELS[n] if n in MODELS else free[others.index(n) % len(free)] for n in names}


def line(epochs: Sized) -> dict[str, Any]:
    """Return how a curve over some epochs is drawn: with dots where these are few enough to be told apart."""
    return {"linewidth": 2, "markersize": 8, "marker": "." if len(epochs) <= DOTTED else None}


def by_epoch(axis: Any) -> None:
    """Count whole epochs on a panel's lower axis."""
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel("epoch", fontsize=10)
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def below(axis: Any, columns: int, drop: float = 0.2) -> None:
    """Put a panel's legend below it, where it hides no curve."""
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -drop), ncols=columns, frameon=False)


def to_one(axis: Any, values: Iterable[float]) -> None:
    """Let an axis of shares begin at 0 and leave room above the values, but end at 1."""
    most = max((v for v in values if v == v), default=1.0)
    axis.set_ylim(0, min(1.0, 1.15 * most) if most > 0 else 1.0)
