"""Cells as Markdown and CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from matrices.cell import Cell


def markdown(cells: Sequence[Cell]) -> str:
    """Return the cells as a Markdown table; equal texts are numbered once and explained below it."""
    rows, columns = list(dict.fromkeys(c.row for c in cells)), list(dict.fromkeys(c.column for c in cells))
    at = {(c.row, c.column): c for c in cells}
    notes = list(dict.fromkeys(c.says for c in cells))
    lines = [["student \\ teacher", *columns], ["---"] * (len(columns) + 1)]
    for r in rows:
        found = [at.get((r, c)) for c in columns]
        lines.append([f"**{r}**", *("" if c is None else f"{c.outcome} {notes.index(c.says) + 1}" for c in found)])
    text = "\n".join("| " + " | ".join(x) + " |" for x in lines)
    return text + "\n\n" + "\n".join(f"{i}. {note}" for i, note in enumerate(notes, 1)) + "\n"


def write(cells: Sequence[Cell], stem: Path) -> None:
    """Write `stem.csv` and `stem.md`."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    with open(stem.with_suffix(".csv"), "w", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["row", "column", "outcome", "says"])
        writer.writerows([c.row, c.column, c.outcome, c.says] for c in cells)
    stem.with_suffix(".md").write_text(markdown(cells))
