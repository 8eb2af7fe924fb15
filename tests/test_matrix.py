# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The script that fills the tables of what works with what."""

from __future__ import annotations

import csv

import matrix
import pytest

from matrices import cell
from matrices.cell import Cell
from ultralytics.distill.upstream import LINE


@pytest.mark.skipif(LINE == "8.3", reason="Ultralytics 8.3 lacks these models")
def test_a_cell_is_a_real_run(tmp_path, capsys):
    """The command trains the pair, prints the terms that were computed, and writes page and CSV."""
    assert matrix.main(["pairs", "--rows", "v8", "--columns", "26", "--out", str(tmp_path)]) == 0
    assert "v8 <- 26: works: cwd P3 P4 P5, relative" in capsys.readouterr().out
    with open(tmp_path / "pairs.csv") as f:
        assert list(csv.DictReader(f)) == [
            {"row": "v8", "column": "26", "outcome": "works", "says": "cwd P3 P4 P5, relative, giou"}
        ]
    page = (tmp_path / "pairs.md").read_text()
    assert "| **v8** | works (1) |" in page and "\n1. cwd P3 P4 P5, relative, giou\n" in page


def test_sentences_and_crashes(tmp_path):
    """A run that ends with a sentence of ours says it; any other error is a crash, not a sentence."""
    refused = cell.run("a", "b", "yolov8n.yaml", tmp_path, model_t=3)
    assert (refused.outcome, refused.says) == (
        "refused",
        "'model_t=3' is not a path, a YOLO, an nn.Module or a function.",
    )
    crashed = cell.run("a", "b", "yolov8n.yaml", tmp_path, data="no.yaml")
    assert crashed.outcome == "crashed" and "no.yaml" in crashed.says


def test_the_command_fails_with_a_crash(monkeypatch):
    """One cell that crashed ends the script with 1."""
    made = iter([Cell("v8", "v8", "works", ""), Cell("v8", "26", "crashed", "ZeroDivisionError: ")])
    monkeypatch.setattr(matrix, "run_all", lambda *_: made)
    assert matrix.main(["pairs", "--rows", "v8"]) == 1


def test_notes_are_numbered_once():
    """Equal texts share a note, every row and column keeps its place, and one without a cell is empty."""
    cells = [Cell(r, c, "works", "x" if r == c else "y") for r in "ab" for c in "ab"]
    assert cell.grid(cells[:3], "row").splitlines()[3] == "| **b** | works (2) |  |"
    text = cell.grid(cells, "row")
    assert "| row | a | b |" in text and "| **a** | works (1) | works (2) |" in text
    assert "| **b** | works (2) | works (1) |" in text and text.endswith("1. x\n2. y")
