# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The comparison script: same start and same images for all methods, resume, figures that are right by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from compared import RUNS, row
from lines import needs_84

import compare
from comparing import figure, job, rows, table
from comparing.plan import Plan
from ultralytics.distill.upstream import load_checkpoint

SMALL = {"imgsz": 64, "batch": 4, "epochs": 2, "device": "cpu", "workers": 0, "nbs": 4, "val": False, "plots": False}


def test_figures_by_hand():
    """Differences are taken seed by seed: 0.03, 0.02, 0.04 have mean 0.03, deviation 0.01, and t is 4.3027."""
    plain, native, ours = table.lines(RUNS, "metrics/mAP50-95(B)")
    assert [x.method for x in (plain, native, ours)] == ["plain", "native", "ours"]
    gain = ours.above["plain"]
    assert gain.mean == pytest.approx(0.03) and gain.wins == "3/3" and native.above["plain"].wins == "1/3"
    assert table.half_width(gain.values) == pytest.approx(4.3027 * 0.01 / math.sqrt(3), rel=1e-4)
    assert str(gain) == "+0.0300 [+0.0052, +0.0548]"
    assert ours.above["native"].values == pytest.approx([0.02, 0.03, 0.04]) and ours.time == 1.5
    assert str(table.lines(RUNS[:1] + RUNS[6:7], "metrics/mAP50-95(B)")[1].above["plain"]) == "+0.0300"


def test_when_plain_is_passed():
    """The third of four epochs is the first above plain's final value; never counts as one epoch more than all."""
    plain, ours = row("plain", 0, 0.3, curve="0.1 0.2 0.25 0.3"), row("ours", 0, 0.4, curve="0.1 0.3 0.31 0.4")
    assert table.passes(ours, 0.3) == 0.75 and table.passes(plain, 0.3) == 1.25
    assert table.cells([plain, ours])[2][-1] == "75%" and table.cells(RUNS)[3][-1] == ""
    elsewhere = [{**x, "split": "test"} for x in (plain, ours)]  # a curve is of the validation split
    assert table.cells(elsewhere)[2][-1] == ""


@pytest.mark.parametrize("runs, base", [(RUNS, "plain"), (RUNS[3:], "native"), (RUNS[:1] + RUNS[7:], "plain")])
def test_the_figure_shows_differences_that_there_are(runs, base):
    """To plain; to native where no seed has plain; to plain again where no seeds are shared at all."""
    assert figure._base(table.lines(runs, "metrics/mAP50-95(B)")) == base


def test_groups_share_plain_runs():
    """Two teachers are two comparisons with the same plain runs; a run that was added twice counts once."""
    other = [row("ours", 0, 0.5, teacher="x.pt")]
    found = rows.groups([*RUNS, *other, RUNS[0]])
    assert [len(x) for x in found.values()] == [9, 4]
    assert [len(x) for x in rows.groups(RUNS[:2]).values()] == [2]


def test_remarks_name_what_is_not_alike():
    """Other images, a resumed run and a changed recipe are said under the table."""
    odd = row("ours", 2, 0.4, seen="2", resumed="1", formula="2 x cwd")
    notes = table.remarks([*RUNS[:8], odd])
    assert len(notes) == 3 and "seed 2" in notes[0] and "ours seed 2" in notes[1] and "2 x cwd" in notes[2]
    assert table.remarks(RUNS) == []


def test_report_writes_page_and_figure(tmp_path):
    """A page and a figure stand beside the rows; the commands are kept."""
    for r in RUNS:
        rows.append(tmp_path / "a.csv", list(r), r)
    assert "+0.0300 [+0.0052, +0.0548]" in compare.report(tmp_path / "a.csv")
    page = (tmp_path / "a.md").read_text()
    assert "| mAP50-95 | ours | 3 | 0.3800 |" in page and "python scripts/compare.py\n```" in page
    (picture,) = tmp_path.glob("*.png")
    assert f"({picture.name})" in page and cv2.imread(str(picture)).std() > 10


def test_pictures_are_named_by_what_they_show():
    """By data, student and teacher, by the split where it is not the usual one; what is still alike gets a number."""
    key = ("bccd/data.yaml", "yolov8p.yaml", "{labels}/n.pt", "", "val", "epochs=1", "1")
    names = table.pictures("a", [key, (*key[:4], "test", *key[5:]), (*key[:5], "epochs=2", "1")])
    assert names == ["a-bccd-yolov8p-n.png", "a-bccd-yolov8p-n-test.png", "a-bccd-yolov8p-n-2.png"]


def test_other_columns_are_refused(tmp_path):
    """Rows of another task would not fit; the file is left alone."""
    rows.append(tmp_path / "a.csv", list(RUNS[0]), RUNS[0])
    with pytest.raises(ValueError, match="other columns"):
        rows.require_columns(tmp_path / "a.csv", ["metrics/accuracy_top1"])


@pytest.fixture(scope="module")
def start(tmp_path_factory, data_yaml, student_yaml):
    """The start weights of seed 5."""
    folder = tmp_path_factory.mktemp("start")
    train = {**SMALL, "data": str(data_yaml), "seed": 5}
    job.save_start({"model": str(student_yaml), "train": train, "start": folder / "s.pt", "result": folder / "r.json"})
    assert "metrics/mAP50-95(B)" in json.loads((folder / "r.json").read_text())["metrics"]
    return folder / "s.pt"


def run(start, folder, data_yaml, **more):
    """Do one job in this process and return its result."""
    folder.mkdir(exist_ok=True)
    train = {**SMALL, "data": str(data_yaml), "seed": 5, **more}
    files = {"start": start, "folder": folder, "result": folder / "result.json"}
    job.run({"train": train, **files, "split": "val", "main": "metrics/mAP50-95(B)", "last": 5})
    return json.loads((folder / "result.json").read_text())


@needs_84("has no distill_model= to compare with")
def test_same_start_and_same_images(start, tmp_path, data_yaml, teacher_pt):
    """Plain, native and a term that draws masks at every step start alike and see alike; each trains its own way."""
    teach = {"model_t": str(teacher_pt), "distill_feat": "mgd", "distill_logit": "none"}
    found = [
        run(start, tmp_path / "plain", data_yaml),
        run(start, tmp_path / "native", data_yaml, distill_model=str(teacher_pt)),
        run(start, tmp_path / "ours", data_yaml, **teach),
    ]
    assert len({r["seen"] for r in found}) == 1
    assert [r["formula"][:9] for r in found] == ["", "6 x nativ", "1 x mgd(a"] and all(r["resumed"] == 0 for r in found)
    assert all(r["epoch_seconds"] > 0 and 0 <= r["metrics/mAP50-95(B)"] <= 1 for r in found)
    assert all(r["steps"] == 4 for r in found)  # two epochs of eight images by four
    files = [tmp_path / n / "weights/last.pt" for n in ("plain", "native", "ours")]
    first = [torch.load(f, weights_only=False)["model"].model[0].conv.weight for f in files]
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert run(start, tmp_path / "other", data_yaml, seed=6, epochs=1)["seen"] != found[0]["seen"]


def test_a_rtdetr_of_a_yaml_starts(tmp_path, data_yaml):
    """Upstream's `YOLO` takes no RT-DETR as YAML; a comparison does."""
    files = {"start": tmp_path / "s.pt", "result": tmp_path / "r.json"}
    job.save_start({"model": "yolov8n-rtdetr.yaml", "train": {**SMALL, "data": str(data_yaml), "seed": 0}, **files})
    assert type(load_checkpoint(files["start"])[0].model[-1]).__name__ == "RTDETRDecoder"


def test_a_run_goes_on_where_it_was_stopped(start, tmp_path, data_yaml, monkeypatch):
    """The second epoch sees what it would have seen; a finished run is validated and not trained again."""
    whole = run(start, tmp_path / "whole", data_yaml, mosaic=0)
    attach = job.Watch.attach

    def stop(trainer):
        if trainer.epoch == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(job.Watch, "attach", lambda self, m: (attach(self, m), m.add_callback("on_model_save", stop)))
    with pytest.raises(KeyboardInterrupt):
        run(start, tmp_path / "half", data_yaml, mosaic=0)
    monkeypatch.setattr(job.Watch, "attach", attach)
    half = run(start, tmp_path / "half", data_yaml, mosaic=0)
    assert half["resumed"] == 1 and half["seen"] == whole["seen"]
    monkeypatch.setattr(job.Watch, "attach", None)  # would fail if it were trained
    assert run(start, tmp_path / "half", data_yaml, mosaic=0) == half


def test_another_start_is_an_error(start, tmp_path, data_yaml, student_pt):
    """A run that does not begin with the saved weights stops before its first step."""
    watch = job.Watch(tmp_path / "watch.json", 5, start)
    model = job.YOLO(student_pt)
    watch.attach(model)
    with pytest.raises(RuntimeError, match="does not start from"):
        model.train(**SMALL, data=str(data_yaml), seed=5, project=str(tmp_path), name="x")


@pytest.mark.parametrize("given", [{"epochs": 1, "val": True}, {"device": "[0, 1]"}])
def test_bad_arguments_are_refused_before_training(given, tmp_path, teacher_pt):
    """What the comparison sets itself, and several devices, end in one sentence."""
    options = SimpleNamespace(teacher=str(teacher_pt), results=tmp_path / "a.csv")
    with pytest.raises(ValueError, match="--args"):
        Plan(options, given, "")


def test_a_wrong_term_is_refused_before_training(tmp_path, data_yaml, student_yaml, teacher_pt, capsys):
    """An unknown loss in one of the sets ends everything before the first run."""
    who = ["--data", str(data_yaml), "--student", str(student_yaml), "--teacher", str(teacher_pt)]
    with pytest.raises(SystemExit, match="2"):
        compare.main([*who, "--methods", "plain", "--ours", "distill_feat=cwdd", "--results", str(tmp_path / "a.csv")])
    assert "'distill_feat=cwdd' is unknown" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("own", ["model_t=answers.jsonl", "distill_model=a.pt", "seed=5", "data=other.yaml"])
def test_a_method_sets_no_more_than_its_method(own, tmp_path, data_yaml, student_yaml, teacher_pt):
    """Teacher, data and seed are the comparison's: a row would bear the name of what was not trained."""
    who = ["--data", str(data_yaml), "--student", str(student_yaml), "--teacher", str(teacher_pt)]
    with pytest.raises(SystemExit, match=f"error: '--ours {own}' is not for one method to set"):
        compare.main([*who, "--methods", "--ours", own, "--results", str(tmp_path / "a.csv")])


def test_an_interruption_is_said_in_a_line(tmp_path, data_yaml, student_yaml, teacher_pt, monkeypatch):
    """A stop by hand or by SIGTERM is no traceback, and tells how to go on."""
    who = ["--data", str(data_yaml), "--student", str(student_yaml), "--teacher", str(teacher_pt)]
    monkeypatch.setattr(Plan, "go", lambda self, runs: compare.stop())
    with pytest.raises(SystemExit, match="stopped: the same command goes on"):
        compare.main([*who, "--results", str(tmp_path / "a.csv")])


def test_the_folder_of_the_runs_is_absolute():
    """Upstream would lay a relative one into its own folder of runs, where the results are not looked for."""
    given = ["--data", "d.yaml", "--student", "s.yaml", "--teacher", "t.pt"]
    assert compare.parse(given).runs == Path("runs/compare/results").resolve()
    assert compare.parse([*given, "--runs", "mine"]).runs == Path("mine").resolve()


@needs_84("has no distill_model= to compare with")
@pytest.mark.slow
def test_whole_script(tmp_path, data_yaml, student_yaml, teacher_pt):
    """Runs in processes of their own fill the CSV; what has a row is not run again."""
    who = ["--data", str(data_yaml), "--student", str(student_yaml), "--teacher", str(teacher_pt), "--seeds", "0"]
    small = [f"{k}={v}" for k, v in SMALL.items() if k not in {"val", "plots"}]
    files = ["--results", str(tmp_path / "a.csv"), "--runs", str(tmp_path / "runs"), "--jobs", "2"]
    line = [*who, "--ours", "", "dfea=0.5 distill_logit=none", "--curve", "--args", *small, *files]
    assert compare.main(line) == 0
    found = rows.read(tmp_path / "a.csv")
    assert sorted(r["method"] for r in found) == ["native", "ours", "ours dfea=0.5 distill_logit=none", "plain"]
    assert len({r["seen"] for r in found}) == 1 and all(len(r["curve"].split()) == 2 for r in found)
    before = (tmp_path / "a.csv").read_bytes()
    assert compare.main(line) == 0 and (tmp_path / "a.csv").read_bytes() == before
    broken = [*who, "--methods", "--ours", "distill_layers=[99]", "--args", *small, *files]
    assert compare.main(broken) == 1 and (tmp_path / "a.csv").read_bytes() == before
