"""The rows of a comparison: one a run, kept in a CSV that others can read and add to."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Row = dict[str, str]

WHO = ("data", "student", "teacher", "teacher_sha256", "method", "seed", "split", "arguments")  # which run it is
NOTES = ("epoch_seconds", "epoch_processor", "seen", "resumed", "formula", "version", "torch", "machine", "curve")


def read(file: Path) -> list[Row]:
    """Return the rows of a CSV, none if there is no such file."""
    if not file.is_file():
        return []
    with open(file, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def require_columns(file: Path, metrics: Sequence[str]) -> list[str]:
    """Return the columns of a CSV, as it has them or as a new one will.

    Args:
        file (Path): The CSV, which may not exist yet.
        metrics (Sequence[str]): What the task's validation finds.

    Raises:
        ValueError: If the file is of another task.
    """
    wanted = [*WHO, *metrics, *NOTES, "command"]
    if file.is_file():
        with open(file, encoding="utf-8", newline="") as f:
            found = next(csv.reader(f), [])
        if found != wanted:
            raise ValueError(f"'--results {file}' has other columns ({', '.join(found)}); give another file.")
    return wanted


def append(file: Path, columns: Sequence[str], row: Row) -> None:
    """Add a row at the end of a CSV, in one write; a new file gets its header."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a", encoding="utf-8", newline="") as f:
        writer = csv.DictWriter(f, columns, lineterminator="\n")
        if not f.tell():
            writer.writeheader()
        writer.writerow(row)


def identify(row: Row) -> tuple[str, ...]:
    """Return what tells one run from all others."""
    return tuple(row[k] for k in WHO)


def groups(rows: Iterable[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Sort rows into comparisons of one student, teacher, data set, split and set of arguments.

    Plain runs know no teacher: they stand in every comparison of theirs.

    Args:
        rows (Iterable[Row]): The rows of a file.

    Returns:
        (dict[tuple, list[Row]]): Rows by data, student, teacher, teacher's sha256, split and arguments.
    """
    found: dict[tuple[str, ...], list[Row]] = {}
    shared = ("data", "student", "split", "arguments")
    rows = list({identify(r): r for r in rows}.values())  # of a run that was added twice the last
    for row in (r for r in rows if r["teacher"]):
        key = tuple(row[k] for k in ("data", "student", "teacher", "teacher_sha256", "split", "arguments"))
        if key not in found:
            same = [r for r in rows if not r["teacher"] and all(r[k] == row[k] for k in shared)]
            found[key] = same
        found[key].append(row)
    alone = [r for r in rows if not r["teacher"] and not any(r in some for some in found.values())]
    for row in alone:
        found.setdefault((row["data"], row["student"], "", "", row["split"], row["arguments"]), []).append(row)
    return found


def metrics(row: Row) -> list[str]:
    """Return the metrics that the table shows: mAP50-95 and mAP50 of each kind of output, else the first two."""
    known = [k for k in row if k.startswith("metrics/")]
    maps = [k for k in known if "/mAP50-95" in k] + [k for k in known if "/mAP50(" in k]
    return sorted(maps, key=lambda k: k[k.find("(") :]) or known[:2]
