"""Cells of a table: each a short real training run, and what became of it in a few words."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import tables
from ultralytics import distill
from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.distill.report.curves import read_columns, term_parts
from ultralytics.distill.runtime.open_model import open_model
from ultralytics.utils import LOGGER

OURS = Path(distill.__file__).parent


@dataclass
class Cell:
    """What became of one run: it works with the terms that it says, was refused with a sentence, or crashed."""

    row: str
    column: str
    outcome: str
    says: str


def run(row: str, column: str, model: str, folder: Path, **arguments: Any) -> Cell:
    """Train a student for an epoch of a few steps and say what became of it.

    An error that our package raises with one sentence is a refusal; any other is a crash, and is printed.
    """
    fixed = {
        "epochs": 1,
        "workers": 0,
        "device": "cpu",
        "val": False,
        "plots": False,
        "optimizer": "SGD",
        "save": False,
    }
    try:
        open_model(model).train(**fixed, project=str(folder), name="run", exist_ok=True, **arguments)
        return Cell(row, column, "works", parts(folder / "run/results.csv"))
    except Exception as e:
        last = traceback.extract_tb(e.__traceback__)[-1].filename
        sentence = str(e).replace("\n", " ")
        if isinstance(e, (ValueError, RuntimeError, FileNotFoundError)) and OURS in Path(last).parents:
            return Cell(row, column, "refused", sentence)
        LOGGER.error("".join(traceback.format_exception(type(e), e, e.__traceback__)))
        return Cell(row, column, "crashed", f"{type(e).__name__}: {sentence}"[:200])


def run_all(
    setup: Callable[[Path, str, str], tuple[str, dict[str, Any]]], places: Iterable[tuple[str, str]], folder: Path
) -> Iterator[Cell]:
    """Yield the cells of some rows and columns, each set up by its table."""
    for row, column in places:
        model, arguments = setup(folder, row, column)
        yield run(row, column, model, folder, **arguments)


def parts(file: Path) -> str:
    """Return a run's terms, as `cwd P3 P4 P5, relative, ld`, and raise unless all their means are finite."""
    values = {name: found[-1] for name, found in term_parts(read_columns(file)).items()}
    if not values or not all(math.isfinite(v) for v in values.values()) or not any(values.values()):
        raise AssertionError(f"the run has taught nothing: {values}")
    found: dict[str, list[str]] = {}
    for name in values:
        term, _, part = name.partition("/")
        found.setdefault(term, []).extend([part] if part else [])
    return ", ".join(" ".join([term, *sorted(names)]) for term, names in found.items())


def grid(cells: Sequence[Cell], corner: str) -> str:
    """Return cells as a Markdown table with numbered notes under it, one for each different text.

    A place without a cell is empty; `corner` stands above the rows' labels.
    """
    rows, columns = list(dict.fromkeys(c.row for c in cells)), list(dict.fromkeys(c.column for c in cells))
    notes = list(dict.fromkeys(c.says for c in cells if c.says))
    at = {(c.row, c.column): f"{c.outcome} ({notes.index(c.says) + 1})" if c.says else c.outcome for c in cells}
    body = [[f"**{r}**", *(at.get((r, c), "") for c in columns)] for r in rows]
    table = tables.markdown([[corner, *columns], *body], left=range(len(columns) + 1))
    return table + "\n\n" + "\n".join(f"{i}. {note}" for i, note in enumerate(notes, 1))


def write_teacher(yaml: str, names: dict[int, str], file: Path, imgsz: int, **more: Any) -> Path:
    """Write the checkpoint of a teacher that has random weights, but whose BatchNorms have seen a batch.

    It is built from one of upstream's YAMLs, with further arguments of the model's class, such as `ch`.
    """
    if file.exists():
        return file
    torch.manual_seed(1)
    built = open_model(yaml)
    model = type(built.model)(yaml, nc=len(names), verbose=False, **more)
    with torch.no_grad():
        model.train()(torch.rand(2, more.get("ch", 3), imgsz, imgsz))
    model.names, model.task, model.args = names, built.task, {**DEFAULT_CFG_DICT, "task": built.task}
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": -1, "model": model.half(), "ema": None, "train_args": {"task": built.task}}, file)
    return file
