# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Shares of the labels: the subsets, as many steps for all, pseudo-labels, and the figure."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from compared import runs
from small_models import build_model, save_model

import compare
from comparing import job, shares, subsets
from comparing.plan import Plan
from comparing.run import Run
from comparing.subsets import Subsets, draw, lengthen, read
from ultralytics.distill.upstream import load_yaml, save_yaml

REST = {"model_t": "t.pt", "unlabeled": "rest"}


def test_subsets_are_nested_and_of_the_seed():
    """A smaller share lies in a larger one, seeds draw unlike ones, and one image is left however small the share."""
    small, large = draw(200, 0.1, 3), draw(200, 0.25, 3)
    assert len(small) == 20 and len(large) == 50 and large[:20] == small and len(set(large)) == 50
    assert draw(200, 0.1, 4) != small == draw(200, 0.1, 3)
    assert len(draw(8, 0.01, 0)) == 1 and sorted(draw(8, 1.0, 0)) == list(range(8))


@pytest.mark.parametrize("total", [205, 300, 7])
@pytest.mark.parametrize("listed", [0.1, 0.5, 1.0, 3.3])
@pytest.mark.parametrize("labelled", [16, 8])
def test_all_take_as_many_steps(total, listed, labelled):
    """Whatever is listed and however many of a batch are from the list; no image is left out."""
    listed, epochs = max(1, round(listed * total)), 60
    length, found = lengthen(listed, total, 16, labelled, epochs)
    steps, wanted = found * math.ceil(length / labelled), epochs * math.ceil(total / 16)
    assert length >= listed and abs(steps - wanted) <= math.ceil(length / labelled) / 2
    if listed <= total * labelled / 16:
        assert found == epochs and steps == wanted  # repeated, so that epochs stay what they are


@pytest.fixture
def options(tmp_path, data_yaml):
    """A command line's options."""
    who = {"data": str(data_yaml), "student": "s.yaml", "teacher": "few-{labels}-{seed}.pt", "unlabeled": []}
    return SimpleNamespace(**who, runs=tmp_path / "runs", results=tmp_path / "a.csv", curve=False, split="val")


def test_lists_lie_in_the_folder_of_the_runs(options, data_yaml):
    """Labelled images come with their labels and the rest without; nothing is written beside the user's data."""
    before = sorted(str(p) for p in data_yaml.parent.rglob("*.txt"))
    plan = Plan(options, {"batch": 4, "epochs": 10}, "")
    (file,) = plan.lists([Run("plain", 5, {}, 0.25), Run("ours", 5, REST, 0.25)])
    facts, root = load_yaml(file), options.runs.resolve()
    images = read(Path(facts["train"]))
    assert file.is_relative_to(root) and facts["names"] == load_yaml(data_yaml)["names"]
    assert len(images) == 8 and len(set(images)) == 2 and Path(facts["val"]).is_dir()
    origin = {p.name: p for p in (data_yaml.parent / "images/train").iterdir()}
    for image in map(Path, set(images)):
        own = origin[image.name.split("-", 1)[1]]
        label = data_yaml.parent / "labels/train" / f"{own.stem}.txt"
        assert image.resolve() == own.resolve() and subsets.label_of(image).read_text() == label.read_text()
    rest = read(file.with_name("rest.txt"))
    assert len(rest) == 6 and not {Path(x).name for x in rest} & {Path(x).name for x in images}
    assert not any(Path(x.replace("/images/", "/labels/")).with_suffix(".txt").exists() for x in rest)
    assert sorted(str(p) for p in data_yaml.parent.rglob("*.txt")) == before


def test_arguments_of_the_methods(options):
    """All labels change nothing; `rest` is a list; half a batch from the list takes half as many epochs of it.

    Epochs of mosaic and warmup follow the number of epochs.
    """
    found = Subsets(options, {"batch": 4, "epochs": 40})
    args = {"epochs": 40, "batch": 4, "warmup_epochs": 3.0}
    assert found.arguments(Run("ours", 0, {"model_t": "t.pt"}), args, "") == {}
    few = found.arguments(Run("plain", 0, {}, 0.25), args, "")
    assert list(few) == ["data"] and few["data"].endswith("plain.yaml")
    more = found.arguments(Run("ours unlabeled=rest", 0, REST, 0.25), args, "")
    assert list(more) == ["unlabeled", "data"] and len(read(Path(more["unlabeled"]))) == 6
    assert len(read(Path(load_yaml(more["data"])["train"]))) == 4  # two of a batch, two batches, as with all labels
    pseudo = found.arguments(Run("pseudo", 0, {}, 0.25), args, "0a")
    assert "pseudo-0a" in pseudo["data"] and len(set(read(Path(load_yaml(pseudo["data"])["train"])))) == 8
    whole = found.arguments(Run("ours unlabeled=rest", 0, REST, 1.0), args, "")
    assert whole["epochs"] == 20 and whole["close_mosaic"] == 5 and whole["warmup_epochs"] == 1.5


def test_images_of_the_data_set_itself(options, tmp_path, data_yaml):
    """`unlabeled:` of the YAML, its images/unlabeled and given folders are of the rest; no other run sees them."""
    root, more = data_yaml.parent, tmp_path / "more"
    more.mkdir()
    (more / "x.png").write_bytes((root / "images/train/0.png").read_bytes())
    keyed = tmp_path / "keyed.yaml"
    save_yaml(keyed, {**load_yaml(data_yaml), "unlabeled": str(more)})
    for given in ({"unlabeled": [str(more)]}, {"data": str(keyed)}):
        found = Subsets(SimpleNamespace(**{**vars(options), **given}), {"batch": 4})
        assert [p.name for p in found.more] == ["x.png"] and found.has_rest(Run("pseudo", 0, {}))
    own = found.arguments(Run("ours", 0, {"model_t": "t.pt"}), {}, "")
    assert "unlabeled" not in load_yaml(own["data"])
    assert not Subsets(options, {"batch": 4}).has_rest(Run("pseudo", 0, {}))


def test_what_does_not_go_with_shares_is_refused(options, tmp_path):
    """One sentence each, before anything is written."""
    for given in ({"batch": -1}, {"fraction": 0.5}, {"time": 1.0}):
        with pytest.raises(ValueError, match="does not go with --labels"):
            Subsets(options, given)
    with pytest.raises(ValueError, match="give a YAML"):
        Subsets(SimpleNamespace(**{**vars(options), "data": str(tmp_path)}), {})
    (tmp_path / "void").mkdir()
    for place in ("nowhere", str(tmp_path / "void")):
        with pytest.raises(ValueError, match=f"{place}' leads to no image"):
            Subsets(SimpleNamespace(**{**vars(options), "unlabeled": [place]}), {})
    with pytest.raises(ValueError, match="'--args patience=3'"):
        Plan(options, {"patience": 3}, "")
    with pytest.raises(ValueError, match=r"few-0.25-5.pt' does not exist.*--lists"):
        Plan(options, {"batch": 4}, "").go([Run("ours", 5, {"model_t": "few"}, 0.25)])
    assert not options.runs.exists()


def test_lists_are_named_without_a_training(options, tmp_path, data_yaml, capsys):
    """`--lists` needs no teacher yet: it is what one is trained on."""
    files = ["--results", str(tmp_path / "a.csv"), "--runs", str(options.runs)]
    line = ["--data", str(data_yaml), "--lists", "--labels", "0.25", "0.5", "1", "--seeds", "0", "1", *files]
    assert compare.main(line) == 0
    said = capsys.readouterr().out.split()
    assert len(said) == 4 and all(Path(x).is_file() for x in said) and "0.25-seed1" in said[2]


@pytest.fixture(scope="module")
def sure_pt(tmp_path_factory):
    """A teacher that is sure of a class everywhere, which is its third and the student's first."""
    model = build_model(width=0.125, nc=3, trained=True)
    model.names = {0: "square", 1: "stripe", 2: "circle"}
    for branch in model.model[-1].cv3:
        branch[-1].bias.data = torch.tensor([-9.0, -9.0, 9.0])
    return save_model(model, tmp_path_factory.mktemp("sure") / "sure.pt")


def test_pseudo_labels_are_the_teacher_s(sure_pt, student_pt, options, tmp_path):
    """Boxes over the confidence, in the student's classes, on the rest; the labelled keep their labels.

    A training on them takes as many steps as one on all images, and its mosaic sees only these labels.
    """
    found = Subsets(options, {"batch": 4, "epochs": 1})
    run = Run("pseudo", 5, {}, 0.25)
    folder = found.write(run.labels, run.seed)
    train = {
        "imgsz": 64,
        "batch": 4,
        "epochs": 1,
        "device": "cpu",
        "workers": 0,
        "val": False,
        "plots": False,
        "seed": 5,
    }
    train.update(found.arguments(run, train, "0a"))
    place = Path(train["data"]).with_suffix("")
    place.mkdir()
    work = {"teacher": str(sure_pt), "start": str(student_pt), "result": str(place / "result.json")}
    predict = {"imgsz": 64, "device": "cpu", "batch": 4}
    job.label({**work, "rest": str(folder / "rest.txt"), "images": str(place / "images"), "predict": predict})
    labels = sorted((place / "labels").iterdir())
    assert len(labels) == 6 and json.loads((place / "result.json").read_text())["objects"] > 0
    assert {x.split()[0] for p in labels for x in p.read_text().splitlines()} == {"0"}
    files = {"start": student_pt, "folder": tmp_path / "run", "result": tmp_path / "run.json"}
    job.run({"train": train, **files, "split": "val", "main": "metrics/mAP50-95(B)", "last": 5})
    assert json.loads(files["result"].read_text())["steps"] == 2


def test_the_teacher_is_measured_as_the_students_are(sure_pt, student_pt, data_yaml, tmp_path):
    """By the data's validation set; one of other classes ends in a reason, and the comparison goes on."""
    work = {"start": str(student_pt), "result": str(tmp_path / "r.json")}
    val = {"data": str(data_yaml), "imgsz": 64, "batch": 4, "device": "cpu", "workers": 0, "split": "val"}
    job.look({**work, "teacher": str(sure_pt), "val": val})
    assert 0 <= json.loads((tmp_path / "r.json").read_text())["metrics/mAP50-95(B)"] <= 1
    other = save_model(build_model(nc=2, trained=True), tmp_path / "other.pt")
    job.look({**work, "teacher": str(other), "val": val})
    assert "of the student's 3 classes" in json.loads((tmp_path / "r.json").read_text())["error"]


def few(share, gain):
    """Return rows of plain, and of a method above it, at a share of the labels."""
    plain = [0.1 + 0.3 * share + d for d in (0.0, 0.01, 0.02)]
    more = {"labels": f"{share:g}"}
    return runs("plain", plain, **more) + runs("ours unlabeled=rest", [x + gain for x in plain], **more)


def test_how_much_of_the_gap_is_closed(tmp_path):
    """Plain at a tenth of the labels lacks 0.27, and 0.18 of it is won; the figure has a line a method."""
    rows = few(0.1, 0.18) + few(0.5, 0.05) + few(1, 0.0)
    ((title, some),) = shares.sort(rows).items()
    said = shares.sentences(some)
    assert said[0] == (
        "labels of 10%: plain 0.1400, 0.2700 below all labels; "
        "ours unlabeled=rest +0.1800 [+0.1800, +0.1800], 67% of the gap"
    )
    assert len(said) == 2 and shares.sort(few(0.1, 0.1)) == {}
    shares.draw(some, title, tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")).std() > 10


def test_lines_are_told_apart_by_teacher():
    """With one teacher a line is a method's; with two each has its own, and plain stands once."""
    rows = few(0.1, 0.1) + few(1, 0.0)
    assert list(shares.curves(rows)) == ["plain", "ours unlabeled=rest"]
    second = [{**r, "teacher": "few-{labels}.pt", "teacher_sha256": r["labels"]} for r in rows if r["teacher"]]
    ((_, some),) = shares.sort(rows + second).items()
    found = shares.curves(some)
    assert list(found) == ["plain", "ours unlabeled=rest <- t.pt", "ours unlabeled=rest <- few-{labels}.pt"]
    assert all(sorted(curve) == [0.1, 1.0] for curve in found.values())


def test_the_report_has_the_figure_of_the_labels(tmp_path):
    """Text and Markdown name it, and it stands beside the rows."""
    from comparing import rows as table_rows

    for r in few(0.1, 0.18) + few(1, 0.0):
        table_rows.append(tmp_path / "a.csv", list(r), r)
    text = compare.report(tmp_path / "a.csv")
    assert "67% of the gap" in text and "(a-labels.png)" in (tmp_path / "a.md").read_text()
    assert (tmp_path / "a-labels.png").is_file()
