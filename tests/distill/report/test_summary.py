# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The report at the end of a distilled run."""

from __future__ import annotations

import csv
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from lines import needs_84
from short_run import options
from small_models import NAMES, save_model
from task_sets import draw_set

import report
from ultralytics import YOLO
from ultralytics.distill.report import curves, samples, summary
from ultralytics.distill.report.comparison import Contender
from ultralytics.distill.report.similarity import activation_map, evenly_spaced, linear_cka, read_images
from ultralytics.distill.teacher.headroom import verdict

PICTURES = ("distill.png", "distill_samples.jpg")


def facts(folder):
    """Return the table of a report by row."""
    with open(folder / "distill.csv", newline="") as f:
        head, *body = csv.reader(f)
    return head, {row[0]: row[1:] for row in body}


def test_cka_by_hand():
    """1 for the same up to rotation, scale and shift; 0 for what varies apart; 1/sqrt(2) where half is shared."""
    x = torch.randn(50, 4)
    turn = torch.linalg.qr(torch.randn(4, 4))[0]
    assert linear_cka(x, 3 * x @ turn + 5) == pytest.approx(1)
    a = torch.tensor([[1.0], [-1], [1], [-1]])
    b = torch.tensor([[1.0], [1], [-1], [-1]])
    assert linear_cka(a, b) == pytest.approx(0, abs=1e-9)
    assert linear_cka(a, torch.cat([a, b], 1)) == pytest.approx(
        0.5**0.5
    )  # ||X'Y||^2 = 16, ||X'X|| = 4, ||Y'Y|| = 4*2^.5
    assert np.isnan(linear_cka(a, torch.ones(4, 1)))


@pytest.mark.parametrize("names, known", [("abc", False), (("stripe", "circle", "square", "dog"), True)])
def test_a_teacher_is_validated_by_name(names, known, data_yaml, make_model, tmp_path, log):
    """Its classes are put into the labels' order; where it does not know them it has a size and a time, no accuracy."""
    teacher = make_model(nc=len(names), width=0.25, trained=True)
    teacher.names = dict(enumerate(names))
    row = Contender("teacher", save_model(teacher, tmp_path / "teacher.pt"))
    args = {"data": str(data_yaml), "imgsz": 64, "task": "detect", "batch": 4}
    summary._fill([row], make_model(), args, torch.device("cpu"))
    assert row.facts["parameters"] and row.facts["ms"] and ("mAP50-95" in row.facts) == known
    classes = {k[3:] for k in row.facts if k.startswith("AP ")}
    assert classes == (set(NAMES.values()) if known else set())
    assert known or any("it knows 0 of the student's 3 classes" in x for x in log())


def test_heat_and_images(tmp_path):
    """A heat map is bright where channels are large in either sign; images are read letterboxed, in RGB."""
    maps = torch.zeros(3, 2, 2)
    maps[:, 0, 1], maps[:, 1, 0] = -4, 2
    assert activation_map(maps).tolist() == [[0, 1], [0.5, 0]]
    image = np.zeros((20, 40, 3), np.uint8)
    image[..., 2] = 255  # red
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (read,) = read_images([tmp_path / "a.png"], 32)
    assert read.shape == (3, 32, 32) and read[:, 16, 16].tolist() == [1, 0, 0]
    assert read[0, 0, 0] == pytest.approx(114 / 255)  # the band above
    assert read_images([tmp_path / "a.png"], 32, channels=1)[0, 0, 16, 16] == pytest.approx(76 / 255)  # 0.299 red
    assert samples.overlay(image, np.eye(4)).shape == (180, 360, 3)
    assert evenly_spaced("abcde", 3) == ["a", "c", "e"]


@needs_84("reads the first page of a tiff alone")
def test_pages_are_channels(tmp_path):
    """A model of other than one or three channels sees what upstream's own loader reads: each page of a tiff is one."""
    file = tmp_path / "two.tiff"
    cv2.imwritemulti(str(file), [np.full((20, 40), v, np.uint8) for v in (255, 0)])
    assert read_images([file], 32, channels=2)[0, :, 16, 16].tolist() == [1, 0]


def test_a_run_ends_with_its_report(data_yaml, student_yaml, teacher_pt, tmp_path, log):
    """Pictures, CKA before and after, and a table of both models are there and listed; the script writes them again."""
    more = {"model_t": str(teacher_pt), "plots": True, "distill_check": False}
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, **more))
    folder = tmp_path / "run"
    assert (folder / "results.png").stat().st_size > 10_000  # upstream's own, with our columns
    (said,) = [x for x in log() if "ms/image (cpu)" in x]
    assert "GFLOPs (64)" in said and "distill.png (losses, " in said and "distill_similarity.csv (" in said
    assert [x.split()[0] for x in said.splitlines()[2:4]] == ["teacher", "student"] and " - " not in said.split(
        "Files"
    )[0]
    assert all(cv2.imread(str(folder / x)).std() > 10 for x in PICTURES)
    alike = curves.read_similarity(folder)
    assert list(alike) == ["before", "after"] and all(list(v) == ["P3", "P4", "P5"] for v in alike.values())
    assert all(0 <= v <= 1 for some in alike.values() for v in some.values())
    head, found = facts(folder)
    assert head == ["", "teacher", "student"] and float(found["parameters"][0]) > float(found["parameters"][1])
    assert {"GFLOPs", "ms", "mAP50-95", "mAP50", "AP circle", "AP square", "AP stripe"} <= found.keys()
    for name in (*PICTURES, "distill.csv"):
        (folder / name).unlink()
    report.main([str(folder)])
    assert all((folder / x).is_file() for x in PICTURES) and facts(folder)[1].keys() == found.keys()
    assert curves.read_similarity(folder)["before"] == alike["before"]


def test_other_tasks_and_no_plots(tmp_path, make_model):
    """A classifier's report has heat maps and no boxes; `plots=False` writes nothing of it."""
    data = draw_set("classify", tmp_path / "set")
    models = {}
    for seed, (name, width) in enumerate((("student", 0.125), ("teacher", 0.25))):
        models[name] = save_model(
            make_model("yolov8n-cls.yaml", width=width, seed=seed, trained=True), tmp_path / f"{name}.pt"
        )
    YOLO(models["student"]).train(**options(data, tmp_path, model_t=str(models["teacher"]), distill_check=False))
    folder = tmp_path / "run"
    assert not list(folder.glob("distill*"))
    summary.write(folder)
    assert all((folder / x).is_file() for x in PICTURES) and "accuracy_top1" in facts(folder)[1]


def test_table_of_many_classes_and_of_one():
    """With 80 classes the screen shows the ten furthest behind; with one there is nothing to list."""
    many = {f"AP thing {i}": i / 100 for i in range(80)}
    rows = [
        Contender("teacher", "t.pt", {"mAP50": 0.9, **dict.fromkeys(many, 0.9)}),
        Contender("student", "s.pt", many),
    ]
    text = summary._short(rows, "cuda:1", 640)
    assert text.splitlines()[0].endswith("   ms/image (cuda:1)")
    assert text.count("thing") == 10 and "thing 0 " in text and "10 furthest behind of 80" in text
    one = [Contender(n, "x.pt", {"mAP50": 0.5, "AP nut": 0.4}) for n in ("teacher", "student")]
    assert "nut" not in summary._short(one, "cpu", 64)


@pytest.mark.parametrize("seen_as", ["cuda:1", "mps", "cpu"])
def test_the_runs_device(seen_as, monkeypatch, tmp_path):
    """A run's models are timed and validated where it trained, and the report is told so."""
    where, told = [], []
    monkeypatch.setattr(summary, "write", lambda folder, scores, device: told.append(device))
    metrics = SimpleNamespace(results_dict={})
    summary.write_after_training(
        SimpleNamespace(
            args=SimpleNamespace(plots=True),
            validator=SimpleNamespace(metrics=metrics),
            data={"names": {}},
            save_dir=tmp_path,
            device=torch.device(seen_as),
        )
    )
    assert told == [seen_as]
    monkeypatch.setattr(summary, "load_fused", lambda weights, device: where.append(str(device)))
    monkeypatch.setattr(summary, "size", lambda *_: {"GFLOPs": 1.0})
    monkeypatch.setattr(summary, "time_forward", lambda *_, **__: 1.0)
    monkeypatch.setattr(
        summary, "validate", lambda weights, student, device, **_: where.append(device) or (metrics, {})
    )
    args = {"data": "x.yaml", "task": "detect", "imgsz": 64}
    summary._fill([Contender("teacher", "t.pt")], None, args, torch.device(seen_as))
    assert where == [seen_as, seen_as]


@pytest.mark.parametrize("device, lines", [("cpu", 0), ("cpu,cpu", 0), (["cpu", "cpu"], 0), ("99", 1), ([99, 98], 1)])
def test_the_device_of_an_old_run(device, lines, log):
    """The first of the run's devices; the CPU, and a line, on a machine that does not have it."""
    assert str(summary._place(device)) == "cpu"
    assert len([x for x in log() if "of the run is not here, the report is made on the CPU" in x]) == lines


@pytest.mark.parametrize(
    "teacher, student, rising, says",
    [(0.5, 0.46, True, "has 92% of its teacher's mAP50-95 (0.460 of 0.500). Next: a teacher that is more accurate"),
     (0.5, 0.6, False, "has 120% of its teacher's"), (0.5, 0.4, True, "80% .* Next: more epochs, .* still rising"),
     (0.5, 0.4, False, "80% .* Next: more images, or a larger student.*compare.py"),
     (0.0, 0.1, True, "The teacher has mAP50-95 0.000 on these images"), (None, 0.1, True, "$")],
)  # fmt: skip
def test_the_verdict(teacher, student, rising, says):
    """The share of the teacher that was reached, and what may help; nothing where the teacher was not measured."""
    facts = [{} if v is None else {"parameters": 9.0, "mAP50-95": v, "mAP50": 0.9} for v in (teacher, student)]
    assert re.search(says.replace("(0.460 of 0.500)", r"\(0.460 of 0.500\)"), verdict(*facts, rising)) is not None
    assert bool(verdict(*facts, rising)) == (teacher is not None) and verdict(facts[0], {}, rising) == ""


def test_the_verdict_is_on_the_tasks_own_metric():
    """Masks before boxes."""
    teacher, student = {"mAP50-95(M)": 0.5, "mAP50-95(B)": 0.6}, {"mAP50-95(B)": 0.6, "mAP50-95(M)": 0.2}
    assert "has 40% of its teacher's mAP50-95(M)" in verdict(teacher, student, False)


@pytest.mark.parametrize(
    "values, rising",
    [([0.1, 0.2], True), ([0.2, 0.1], False), ([0.3] + [0.1] * 20, False), ([0.1] * 18 + [0.3, 0.2], True), ([], False),
     ([float("nan")], False)],
)  # fmt: skip
def test_still_rising(values, rising):
    """The best epoch is in the last tenth."""
    columns = {"metrics/mAP50(B)": values[::-1], "metrics/mAP50-95(B)": values}
    assert curves.still_rising(columns, "mAP50-95") == rising


def test_a_plain_run_has_no_report(tmp_path):
    """The script says what is missing."""
    with pytest.raises(SystemExit, match="holds no distilled run"):
        report.main([str(tmp_path)])
