# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The table of tasks and terms: how it is made, and what stands in it."""

import csv
from pathlib import Path

import matrix
import pytest

from matrices import tasks
from ultralytics.distill.config import RESPONSES
from ultralytics.distill.upstream import LINE

TABLE = Path(__file__).parents[1] / "docs/results/tasks.csv"


@pytest.mark.skipif(LINE == "8.3", reason="Ultralytics 8.3 lacks these models")
def test_cells_are_real_runs(tmp_path, capsys):
    """A term that fits is trained with, one that does not is refused with its sentence; both land in the table."""
    assert matrix.main(["tasks", "--rows", "kl", "--columns", "classify", "depth", "--out", str(tmp_path)]) == 0
    says = capsys.readouterr().out
    assert "kl <- classify: works: kl" in says
    assert "kl <- depth: refused: 'distill_logit=kl': it needs classes, which Depth does not predict." in says
    page = (tmp_path / "tasks.md").read_text()
    assert "| **kl** | works | refused (1) |" in page and "1. 'distill_logit=kl': it needs classes" in page


def test_the_table_is_whole():
    """Every term and task has its cell, none crashed, and the recipe is made of the terms that it names."""
    with open(TABLE) as f:
        found = {(r["row"], r["column"]): r for r in csv.DictReader(f)}
    assert set(found) == {(r, c) for r in tasks.ROWS for c in tasks.COLUMNS}
    assert {r["outcome"] for r in found.values()} == {"works", "refused"}
    for task in tasks.COLUMNS:
        terms = [x.split()[0] for x in found["auto", task]["says"].split(", ")]
        assert terms == list(RESPONSES[task])
