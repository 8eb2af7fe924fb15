"""The rows of a comparison: one a run, kept in a CSV that others can read and add to."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Dict, Tuple

from ultralytics.distill.teacher.headroom import main_metric

Row = Dict[str, str]
Key = Tuple[str, ...]  # of a comparison
WHO = ("data", "student", "teacher", "teacher_sha256", "method", "seed", "split", "arguments", "labels")  # which run
SCORE = "score"  # the main metric on the validation split, the median of the last epochs' average weights
INT8 = "metrics/INT8"  # the main metric of the INT8 export, where a file was begun with --int8
NOTES = ("epoch_seconds", "epoch_processor", "seen", "resumed", "formula", "version", "torch", "machine", "curve")
LATER = {"labels": "1", SCORE: "", "steps": "", "teacher_accuracy": ""}  # what rows of before do not have


def columns(metrics: Sequence[str]) -> list[str]:
    """Return the columns of a file with some metrics."""
    return [*WHO, *metrics, SCORE, *NOTES, "steps", "teacher_accuracy", "command"]


def read(file: Path) -> list[Row]:
    """Return the rows of a CSV, none if there is no such file; what older ones lack is filled in."""
    if not file.is_file():
        return []
    with open(file, encoding="utf-8", newline="") as f:
        return [{**row, **{k: v for k, v in LATER.items() if not row.get(k)}} for row in csv.DictReader(f)]


def require_columns(file: Path, metrics: Sequence[str]) -> list[str]:
    """Return the columns of a CSV with some metrics, as it has them or as a new one will.

    Raises:
        ValueError: If the file is of another task.
    """
    wanted = columns(metrics)
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


def groups(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    """Sort rows into comparisons: by data, student, teacher and its sha256, split, arguments and labels.

    Plain runs know no teacher: they stand in every comparison of theirs. A teacher that was given as a pattern is
    another file for each seed, and one comparison all the same. Of a run that was added twice the last counts.
    """
    plain: dict[Key, list[Row]] = {}
    taught: dict[Key, list[Row]] = {}
    for row in {identify(r): r for r in rows}.values():
        teacher = row["teacher"], "" if "{" in row["teacher"] else row["teacher_sha256"]
        key = row["data"], row["student"], *teacher, row["split"], row["arguments"], row["labels"]
        (taught if row["teacher"] else plain).setdefault(key, []).append(row)
    alone = {key: (*key[:2], "", "", *key[4:]) for key in taught}
    found = {key: [*plain.get(alone[key], []), *some] for key, some in taught.items()}
    return {**found, **{key: some for key, some in plain.items() if key not in alone.values()}}


def metrics(row: Row) -> list[str]:
    """Return the metrics that the table shows: mAP50-95 and mAP50 of each kind of output, else the first two."""
    known = [k for k in row if k.startswith("metrics/")]
    maps = [k for k in known if "/mAP50-95" in k] + [k for k in known if "/mAP50(" in k]
    return sorted(maps, key=lambda k: k[k.find("(") :]) or known[:2]


def decisive(rows: Sequence[Row]) -> str:
    """Return the column that a verdict is on: the score where all rows have it, else the last weights' main metric.

    A score is of the validation split.
    """
    scored = all(r[SCORE] and r["split"] == "val" for r in rows)
    return SCORE if scored else main_metric([k for k in rows[0] if k.startswith("metrics/")]) or metrics(rows[0])[0]


def shown(rows: Sequence[Row]) -> list[str]:
    """Return the columns that tables and figures show: the score where all rows have it, the metrics, that of INT8."""
    return [SCORE] * (decisive(rows) == SCORE) + metrics(rows[0]) + [INT8] * (INT8 in rows[0])


def short(column: str) -> str:
    """Return the name of a column in tables and figures."""
    return column.replace("metrics/", "").replace("(B)", "")
