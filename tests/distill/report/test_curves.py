# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The picture of a run's columns."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from ultralytics.distill.report.curves import lines_of, plot_run

COLUMNS = {"epoch": "1,2", "train/dfl_loss": "1,1", "train/dfea_loss": "2,1", "distill/cwd/P3": "2,1",
           "distill/margin/boxes": "0,0.1", "distill/weight/cwd": "1,0.2"}  # fmt: skip
GRADIENTS = "gradient / task loss's gradient"


@pytest.mark.parametrize("values, drawn", [(None, False), ("nan,nan", False), ("nan,0.2", True)])
def test_gradients_are_drawn_where_they_were_measured(values, drawn, tmp_path, monkeypatch):
    """No empty panel stands for gradients that nobody measured: a sentence says so, and what would measure them."""
    said = []
    monkeypatch.setattr(Figure, "supxlabel", lambda figure, text, **_: said.append(text))
    columns = {**COLUMNS, **({"distill/grad/dfea": values} if values else {})}
    rows = zip(*(v.split(",") for v in columns.values()))
    (tmp_path / "results.csv").write_text("\n".join(",".join(r) for r in [columns, *rows]) + "\n")
    plot_run(tmp_path, tmp_path / "distill.png")
    assert ["distill_balance=grad(clamp=1) measures" in x for x in said] == [True] * (not drawn)
    found = dict(lines_of({k: [float(x) for x in v.split(",")] for k, v in columns.items()}))
    assert (GRADIENTS in found) == drawn and list(found["terms as trained"]) == ["dfea_loss"]
