# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The names of a run's columns: in `results.csv`, where each row stays under its own, and in an epoch's header."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ultralytics.distill.runtime.checkpoints import write_whole

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

WIDTH = 11  # characters of a column in upstream's header
FIRST = ("epoch", "time")  # upstream's columns in front of those that it is given


def fit_table(trainer: BaseTrainer, names: Iterable[str]) -> None:
    """Make the header fit a row that upstream is about to append; a run that never had a teacher is left alone.

    The row's names come first, in its order, then those that only earlier rows have. Upstream writes what it is given
    and no empty cells, so its row ends before the latter, which polars and pandas read as empty; `_fill` adds the cells
    once the epoch is over.
    """
    if not trainer.csv.is_file():
        return
    text = trainer.csv.read_text(encoding="utf-8")
    header, *rows = _read(text) or [[]]
    if trainer.distill is None and not any(name.startswith("distill/") for name in header):
        return
    if not header:  # killed before its first line was whole: upstream writes it anew
        trainer.csv.unlink()
        return
    names = [*(name for name in FIRST if name in header), *names]
    gone = [name for name in header if name not in names]
    if header != [*names, *gone] or not text.endswith("\n"):
        cells = [dict(zip(header, row)) for row in rows]
        _write(trainer.csv, [[*names, *gone], *([c.get(n, "") for n in (*names, *gone)] for c in cells)])
    if gone and _fill not in trainer.callbacks.get("on_fit_epoch_end", []):
        trainer.add_callback("on_fit_epoch_end", _fill)


def _fill(trainer: BaseTrainer) -> None:
    """Add the empty cells of names that are gone to the rows that end before them."""
    header, *rows = _read(trainer.csv.read_text(encoding="utf-8"))
    if any(len(row) < len(header) for row in rows):
        _write(trainer.csv, [header, *([*row, *[""] * (len(header) - len(row))] for row in rows)])


def _read(text: str) -> list[list[str]]:
    """Return the cells of all whole lines; a last one without its end was cut off by a kill and is trained again."""
    whole = text[: text.rfind("\n") + 1]
    return [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(whole)) if row]


def _write(file: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write the whole table, or leave it as it is."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_whole(file, text.getvalue().encode("utf-8"))


def space_columns(trainer: BaseTrainer) -> None:
    """Shorten our columns in the header of each epoch where they would fill upstream's 11 characters and touch."""
    plain, columns = trainer.progress_string, trainer.distill.step.columns

    def apart() -> str:
        text: str = plain()
        for name in (c for c in columns if len(c) >= WIDTH):
            text = text.replace(f"{name:>{WIDTH}}", f"{name.replace('_loss', '')[: WIDTH - 1]:>{WIDTH}}")
        return text

    trainer.progress_string = apart
