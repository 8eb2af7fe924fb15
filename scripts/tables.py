"""Rows of texts, the head first, as a table in Markdown or for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

Rows = Sequence[Sequence[str]]


def markdown(rows: Rows, left: Collection[int] = (0,)) -> str:
    """Return rows as Markdown; the columns in `left` are aligned left, the others right."""
    rule = ["---" if i in left else "---:" for i in range(len(rows[0]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def text(rows: Rows, left: Collection[int] = (0,)) -> str:
    """Return rows as aligned text."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    sides = ["<" if i in left else ">" for i in range(len(widths))]
    lines = ("  ".join(f"{c:{side}{w}}" for c, side, w in zip(row, sides, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
