# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The benchmark of losses runs every loss."""

from __future__ import annotations

import json

from benchmark_losses import main

from ultralytics.distill.losses import FEATURE, RELATION, RESPONSE


def test_every_loss_is_measured(capsys):
    """On tiny inputs: a row for each name, a time, and bytes that agree with what the loss's docstring says."""
    rows = {
        r["loss"]: r for r in main(["--batch", "2", "--imgsz", "64", "--device", "cpu", "--repeats", "1", "--json"])
    }
    assert list(rows) == [*FEATURE, *RESPONSE, *RELATION]
    assert all(r["ms"] > 0 for r in rows.values())
    teacher = 4 * 2 * (128 * 64 + 256 * 16 + 512 * 4)  # bytes of the teacher's maps
    assert rows["cwd"]["inputs"] == 2 * teacher and rows["cwd"]["kept"] == teacher and rows["mimic"]["kept"] == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["loss"] == "cwd"


def test_tables(capsys):
    """Both tables have a line for each loss and fit a terminal."""
    for form in ([], ["--markdown"]):
        main(["--batch", "2", "--imgsz", "32", "--device", "cpu", "--repeats", "1", "--losses", "cwd", "ld", *form])
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 5 + bool(form) and max(map(len, lines[2:])) <= 80
