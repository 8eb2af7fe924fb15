# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The table, the curves and the samples of a comparison."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.distill.report import comparison, metrics, samples
from ultralytics.distill.report.comparison import Contender

FACTS = {"parameters": 3006818, "GFLOPs": 0.324, "mAP50-95": 0.5, "mAP50": 0.625, "ms": 7.25}


def contender(name, **changes):
    """A model with facts but no file."""
    return Contender(name, "missing/weights/best.pt", {**FACTS, **changes})


@pytest.fixture(scope="module")
def measured(teacher_pt, student_pt, data_yaml):
    """Two real models, measured on a tiny set."""
    models = [Contender("teacher", teacher_pt), Contender("distilled", student_pt)]
    comparison.validate_all(models, str(data_yaml), 64, "cpu")
    return models


def test_measures_a_model(measured):
    """Size, accuracy and time are there; the larger model is the larger one."""
    teacher, student = (c.facts for c in measured)
    assert list(teacher) == ["parameters", "GFLOPs", "ms", "mAP50-95", "mAP50"]
    assert teacher["parameters"] > student["parameters"] and teacher["GFLOPs"] > student["GFLOPs"] > 0
    assert 0 <= teacher["mAP50-95"] <= teacher["mAP50"] <= 1 and teacher["ms"] > 0


def test_a_teacher_of_other_data_keeps_its_row(teacher_pt, tmp_path, log):
    """What cannot be validated is said, and the rest of the table stands."""
    model = Contender("teacher", teacher_pt)
    comparison.validate_all([model], str(tmp_path / "nowhere.yaml"), 64, "cpu")
    assert "mAP50" not in model.facts and model.facts["parameters"] > 0
    assert any("teacher cannot be measured" in x for x in log())
    assert comparison.table([model, contender("distilled")]).splitlines()[1].split()[3] == "-"


def test_a_teacher_of_no_known_kind_keeps_its_row(tmp_path, log):
    """A whole module teaches, but nobody can validate it: said in a line, and the table stands."""
    torch.save(nn.Conv2d(3, 4, 1), tmp_path / "module.pt")
    model = Contender("teacher", tmp_path / "module.pt")
    comparison.validate_all([model], "coco8.yaml", 64, "cpu")
    assert model.facts == {} and any("teacher cannot be measured" in x for x in log())
    assert comparison.table([model, contender("distilled")]).splitlines()[1].split()[1:] == ["-"] * 5


def test_gray_models_are_timed(make_model):
    """The image that is timed has the model's own channels."""
    model = make_model()
    model.model[0].conv = nn.Conv2d(1, 8, 3, 2, 1, bias=False)
    assert metrics.time_forward(model.eval(), 64, repeats=1, warm=0) > 0


def test_names_of_metrics():
    """Folders go; boxes and masks are told apart only where there are both."""
    found = {"metrics/mAP50(B)": 0.5, "metrics/mAP50-95(B)": 0.25, "fitness": 0.3}
    assert metrics.accuracy(found) == {"mAP50-95": 0.25, "mAP50": 0.5}
    assert list(metrics.accuracy({**found, "metrics/mAP50(M)": 1})) == ["mAP50-95(B)", "mAP50(M)", "mAP50(B)"]


def test_table_is_aligned_and_subtracts_plain_from_distilled():
    """A reader sees the gain without arithmetic; only accuracies are subtracted."""
    lines = comparison.table([contender("teacher"), contender("plain"), contender("distilled", mAP50=0.7)]).splitlines()
    assert lines[0].split() == ["parameters", "GFLOPs", "mAP50-95", "mAP50", "ms/image"]
    assert lines[1].split() == ["teacher", "3,006,818", "0.32", "0.500", "0.625", "7.2"]
    assert lines[4].split() == ["distilled", "-", "plain", "+0.000", "+0.075"]
    assert len({len(x) for x in lines}) == 1


def test_what_there_was_to_win_and_what_was_won():
    """Teacher above plain, and the share of it that the distilled student has; nothing where one is missing."""
    models = [
        contender("teacher"),
        contender("plain", **{"mAP50-95": 0.3}),
        contender("distilled", **{"mAP50-95": 0.35}),
    ]
    said = "\nTo win: teacher 0.500 - plain student 0.300 = +0.200; won: distilled +0.050, 25% of it.\n"
    assert comparison.headroom(models) == said
    assert comparison.headroom(models[1:]) == comparison.headroom(models[:2]) == ""


def test_curves_are_drawn_from_runs_and_from_facts(tmp_path, monkeypatch):
    """A run gives curves; a model without one, as a downloaded teacher, a dashed line. Accuracies end at 1."""
    head = "epoch,train/box_loss,train/dfea_loss,metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss\n"
    weights = tmp_path / "run" / "weights" / "best.pt"
    weights.parent.mkdir(parents=True)
    (tmp_path / "run" / "results.csv").write_text(head + "1,2,1,.1,.05,3\n2,1,.5,.2,.1,2\n")
    models = [contender("teacher"), Contender("distilled", weights)]
    assert models[0].history == {} and models[1].history["epoch"].tolist() == [1, 2]
    tops, show = [], comparison.to_one
    monkeypatch.setattr(comparison, "to_one", lambda a, values: (show(a, values), tops.append(a.get_ylim()[1])))
    models[0].facts["mAP50"] = 0.95
    comparison.plot_curves(models, tmp_path / "curves.png")
    assert tops == pytest.approx([0.575, 1.0])
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 10


def test_samples_show_labels_and_models(measured, data_yaml, tmp_path):
    """A picture for each image: labels and each model; image size and number do not matter."""
    assert samples.plot_samples(measured, str(data_yaml), 64, tmp_path / "samples.png", "cpu", count=2)
    image = cv2.imread(str(tmp_path / "samples.png"))
    assert image.shape[1] > image.shape[0] and image.std() > 10


def test_a_prediction_is_right_only_once_and_only_for_its_class():
    """Matching by hand: a duplicate, another class and a box beside the object are false."""
    truth = np.array([[0, 0, 10, 10], [20, 20, 30, 30]])
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 30], [21, 21, 31, 31], [50, 50, 60, 60]])
    guess = ["nut", "nut", "gear", "Bolt", "nut"]
    assert samples.match(boxes, guess, truth, ["nut", "bolt"]) == [0, -1, -1, 1, -1]


def test_samples_of_labels_are_spread_over_the_set(data_yaml):
    """The first and the last image are among them, boxes are in pixels."""
    rows, names = samples.read_labels(str(data_yaml), 2)
    assert [r[0].rsplit("/", 1)[1] for r in rows] == ["0.png", "3.png"] and names[0] == "circle"
    assert all(r[1].shape == (len(r[2]), 4) and r[1].max() > 1 for r in rows)
