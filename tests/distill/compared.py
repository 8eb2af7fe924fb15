# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Rows of comparisons as `scripts/compare.py` would have written them."""

from __future__ import annotations

from comparing import rows


def row(method, seed, value, **changes):
    """Return a row with one metric."""
    teacher = ("", "") if method == "plain" else ("t.pt", "0a")
    who = ("d.yaml", "s.yaml", *teacher, method, str(seed), "val", "epochs=2")
    notes = {"epoch_seconds": "2", "epoch_processor": "1", "seen": "1", "resumed": "0", "formula": "", "machine": "CPU"}
    found = {"metrics/mAP50(B)": "0.9", "metrics/mAP50-95(B)": str(value)}
    line = {**dict(zip(rows.WHO, who)), **found, **notes, "command": "python scripts/compare.py"}
    return {**rows.LATER, **line, **changes}


def runs(method, values, **changes):
    """Return a row a seed."""
    return [row(method, seed, value, **changes) for seed, value in enumerate(values)]


RUNS = runs("plain", (0.30, 0.40, 0.35)) + runs("native", (0.31, 0.39, 0.35))
RUNS += runs("ours", (0.33, 0.42, 0.39), epoch_processor="1.5")
