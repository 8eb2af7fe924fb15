# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The picture of a run's columns, and what all pictures share."""

from __future__ import annotations

import cv2
import pytest
from matplotlib.axes import Axes

from ultralytics.distill.report import curves, style
from ultralytics.distill.report.curves import lines_of, plot_run, save_similarity

COLUMNS = {"epoch": "1,2", "train/dfl_loss": "1,1", "train/dfea_loss": "2,1", "distill/cwd/P3": "2,1",
           "distill/cwd/P4": "2,1", "distill/mgd/P3": ".01,.01", "distill/margin/boxes": "0,0.1",
           "distill/weight/cwd": "1,0.2", "distill/weight/mgd": "1,0.2"}  # fmt: skip


def write(folder, columns):
    """Write a run's columns and return them as they are read."""
    rows = zip(*(v.split(",") for v in columns.values()))
    (folder / "results.csv").write_text("\n".join(",".join(r) for r in [columns, *rows]) + "\n")
    return curves.read_columns(folder / "results.csv")


@pytest.fixture
def drawn(monkeypatch):
    """`drawn["title"]` is the panel that was drawn last under a title that begins so."""
    found, set_title = {}, Axes.set_title
    monkeypatch.setattr(
        Axes, "set_title", lambda a, text, **more: found.update({text: a}) or set_title(a, text, **more)
    )
    return lambda title: next(a for text, a in found.items() if text.startswith(title))


def test_panels_are_what_was_measured(tmp_path):
    """A panel for each kind of column; upstream's dfl_loss is no loss of ours, an old run's gradients no term."""
    found = dict(lines_of(write(tmp_path, {**COLUMNS, "distill/grad/dfea": "nan,0.2"})))
    assert list(found) == [curves.LOSSES, curves.TRAINED, curves.WEIGHTS, curves.MARGIN]
    assert list(found[curves.TRAINED]) == ["dfea"] and set(found[curves.LOSSES]) == {"cwd/P3", "cwd/P4", "mgd/P3"}
    assert list(found[curves.WEIGHTS]) == ["cwd", "mgd"] and list(found[curves.MARGIN]) == ["margin/boxes"]


@pytest.mark.parametrize("epochs", [1, 2, 300])
def test_axes_are_read_at_a_glance(epochs, tmp_path, drawn):
    """Whole epochs, weights and similarity from 0 to 1, one colour a loss in all panels; large and small are seen."""
    columns = {k: ",".join([v.partition(",")[0]] * epochs) for k, v in COLUMNS.items()}
    write(tmp_path, {**columns, "epoch": ",".join(str(i + 1) for i in range(epochs))})
    save_similarity(tmp_path, {"before": {"P3": 0.1}, "after": {"P3": 1.0}})
    plot_run(tmp_path, tmp_path / "distill.png")
    assert cv2.imread(str(tmp_path / "distill.png")).std() > 10
    losses, weights, alike = drawn(curves.LOSSES), drawn(curves.WEIGHTS), drawn(curves.CKA)
    assert all(x == int(x) for x in losses.get_xticks()) and losses.get_yscale() == "log"
    assert weights.get_ylim() == pytest.approx((-0.02, 1.02)) and alike.get_ylim() == (0, 1)
    shade = {x.get_label(): x.get_color() for x in losses.lines}
    assert shade["cwd/P3"] == shade["cwd/P4"] != shade["mgd/P3"]
    assert [x.get_color() for x in weights.lines] == [shade["cwd/P3"], shade["mgd/P3"]]
    assert len({x.get_linestyle() for x in losses.lines if x.get_label()[:3] == "cwd"}) == 2


def test_a_model_has_one_colour():
    """Plain, native and ours are what they are in every picture; other ways get colours that none of them has."""
    found = style.of_methods(["plain", "ours (a)", "native", "ours (b)"])
    assert found["plain"] == style.MODELS["plain"] == style.BLUE and found["ours (a)"] == style.ORANGE
    assert len(set(found.values())) == 4 and len(style.of_methods(map(str, range(20)))) == 20
