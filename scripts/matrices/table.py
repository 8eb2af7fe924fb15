"""Cells as Markdown and CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

import tables
from matrices.cell import Cell


def grid(cells: Sequence[Cell], corner: str) -> str:
    """Return cells as a Markdown table with numbered notes under it, one for each different text.

    Args:
        cells (Sequence[Cell]): The cells; a place without one is empty.
        corner (str): What stands above the rows' labels.

    Returns:
        (str): The table and its notes.
    """
    rows, columns = list(dict.fromkeys(c.row for c in cells)), list(dict.fromkeys(c.column for c in cells))
    notes = list(dict.fromkeys(c.says for c in cells if c.says))
    at = {(c.row, c.column): f"{c.outcome} ({notes.index(c.says) + 1})" if c.says else c.outcome for c in cells}
    body = [[f"**{r}**", *(at.get((r, c), "") for c in columns)] for r in rows]
    table = tables.markdown([[corner, *columns], *body], left=range(len(columns) + 1))
    return table + "\n\n" + "\n".join(f"{i}. {note}" for i, note in enumerate(notes, 1))


def write(cells: Sequence[Cell], page: str, stem: Path) -> None:
    """Write `stem.csv` and `stem.md`."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    with open(stem.with_suffix(".csv"), "w", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(x.name for x in fields(Cell))
        writer.writerows(map(astuple, cells))
    stem.with_suffix(".md").write_text(page)
