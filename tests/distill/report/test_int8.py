# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The student's accuracy in INT8, as small devices run it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from short_run import options

from ultralytics import YOLO
from ultralytics.distill.report import comparison, int8, metrics
from ultralytics.distill.report.comparison import Contender
from ultralytics.distill.upstream import INT8, missing_packages


def test_what_is_missing_is_said_and_costs_nothing(teacher_pt, student_pt, data_yaml, monkeypatch, log):
    """Without the packages, or where an export fails, one line says so and the rest of the table stands."""
    monkeypatch.setattr(int8, "missing_packages", lambda names: ["onnxslim"])
    models = [Contender("teacher", teacher_pt), Contender("distilled", student_pt)]
    comparison.validate_all(models, str(data_yaml), 64, "cpu", int8=True)
    assert all("mAP50-95" in m.facts and not any("INT8" in k for k in m.facts) for m in models)
    (said,) = [x for x in log() if "INT8" in x]
    assert "Distillation: the distilled student is not measured in INT8: pip install onnxslim first." in said
    monkeypatch.setattr(int8, "missing_packages", lambda names: [])
    assert int8.measure_int8("student", "nowhere.pt", "detect", data=str(data_yaml), imgsz=64) == {}
    assert any("the student is not measured in INT8: " in x and "nowhere.pt" in x for x in log())


def test_said_before_the_run(data_yaml, student_yaml, teacher_pt, tmp_path, log):
    """A report that will not be written, or not have the figure, is named before the training, not after it."""
    more = {"model_t": str(teacher_pt), "distill_int8": True, "plots": False}
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, **more))
    assert any("'distill_int8=True' is for the report at the end, which 'plots=False' leaves out" in x for x in log())


@pytest.mark.skipif(bool(missing_packages(INT8.packages)), reason=f"not installed: {missing_packages(INT8.packages)}")
def test_int8_of_a_run(data_yaml, student_yaml, teacher_pt, tmp_path, log, monkeypatch):
    """The report's table has the accuracy of a quantised export beside the student's own; no export stays behind."""
    seen = []

    def look(model, **arguments):
        """Note what is validated, and validate it."""
        seen.append((b"QuantizeLinear" in Path(model.model).read_bytes(), arguments["imgsz"], arguments["device"]))
        return metrics.quietly(model, **arguments)

    monkeypatch.setattr(int8, "quietly", look)
    more = {"model_t": str(teacher_pt), "distill_int8": True, "plots": True}
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, **more))
    assert seen == [(True, 64, "cpu")]
    with open(tmp_path / "run/distill.csv", newline="") as f:
        found = {row[0]: row[1:] for row in csv.reader(f)}
    teacher, student = found["INT8 mAP50-95"]
    assert teacher == "" and 0 <= float(student) <= 1
    assert any("INT8 mAP50-95" in x and "ms/image" in x for x in log()) and not list(tmp_path.rglob("*.onnx"))
