"""Cells as Markdown and CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from matrices.cell import Cell


def grid(cells: Sequence[Cell], corner: str) -> str:
    """Return cells as a Markdown table with numbered notes under it, one for each different text.

    Args:
        cells (Sequence[Cell]): One for each row and column.
        corner (str): What stands above the rows' labels.

    Returns:
        (str): The table and its notes.
    """
    rows, columns = list(dict.fromkeys(c.row for c in cells)), list(dict.fromkeys(c.column for c in cells))
    at = {(c.row, c.column): c for c in cells}
    notes = list(dict.fromkeys(c.says for c in cells))
    body = [[f"{at[r, c].outcome} ({notes.index(at[r, c].says) + 1})" for c in columns] for r in rows]
    lines = [[corner, *columns], ["---"] * (len(columns) + 1), *([f"**{r}**", *b] for r, b in zip(rows, body))]
    return join(lines) + "\n\n" + "\n".join(f"{i}. {note}" for i, note in enumerate(notes, 1))


def listing(cells: Sequence[Cell], row: str, column: str) -> str:
    """Return cells as a Markdown table with one line for each.

    Args:
        cells (Sequence[Cell]): The cells.
        row (str): What the rows' labels are.
        column (str): What the columns' labels are.

    Returns:
        (str): The table.
    """
    return join([[row, column, "", "terms"], ["---"] * 4, *([c.row, c.column, c.outcome, c.says] for c in cells)])


def join(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of texts as Markdown's."""
    return "\n".join("| " + " | ".join(x) + " |" for x in lines)


def write(cells: Sequence[Cell], page: str, stem: Path) -> None:
    """Write `stem.csv` and `stem.md`."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    with open(stem.with_suffix(".csv"), "w", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["row", "column", "outcome", "says"])
        writer.writerows([c.row, c.column, c.outcome, c.says] for c in cells)
    stem.with_suffix(".md").write_text(page)
