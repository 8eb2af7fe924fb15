# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The look at the teacher before the first epoch."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from short_run import equal, options, weights
from small_models import build_model, save_model
from task_sets import draw_set

from ultralytics import YOLO
from ultralytics.distill import trainer as seams
from ultralytics.distill.config import Config
from ultralytics.distill.teacher.evaluation import candidate, guesses, narrow, report, sample
from ultralytics.distill.teacher.source import Source


class Stop(Exception):
    """Raised in place of training."""


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    """A set of four validation images, two of them red, and a classifier for each colour that sees nothing else."""
    root = tmp_path_factory.mktemp("boards")
    for i, name in enumerate(names := ("blue", "green", "red")):
        model = build_model("yolov8n-cls.yaml", 3, 0.125, seed=i, trained=True)
        model.model[-1].linear.bias.data[i] = 50
        model.names = dict(enumerate(names))
        save_model(model, root / f"{name}.pt")
    return draw_set("classify", root / "set"), root


def look(boards, tmp_path, teacher, student, stop=True, **more):
    """Train a student that sees one colour with a teacher that sees another; return the validations' number.

    With `stop` the run ends before its first batch.
    """
    data, root = boards
    calls = []
    model = YOLO(root / f"{student}.pt")

    def end(trainer):
        raise Stop

    model.add_callback("on_val_start", calls.append)
    if stop:
        model.add_callback("on_train_epoch_start", end)
    arguments = options(data, tmp_path, model_t=str(root / f"{teacher}.pt"), **{"distill_check": True, **more})
    try:
        model.train(**arguments)
    except Stop:
        pass
    return len(calls)


def lines(log):
    """Return what was said of the teacher's accuracy."""
    return [x for x in "\n".join(log()).splitlines() if "teacher" in x and ("top1" in x or "better" in x)]


def test_a_good_teacher_is_measured(boards, tmp_path, log):
    """Both accuracies and the number of images, what is to be won, the loss, and what was skipped: four lines."""
    look(boards, tmp_path, "red", "blue")
    (said,) = [x.splitlines() for x in log() if "has accuracy_top1" in x]
    assert said[0].startswith("Distillation: teacher red.pt, frozen, 0.4M parameters, ") and said[0].endswith(
        ", has accuracy_top1 0.500 on 4 validation images; the student starts at accuracy_top1 0.250"
    )
    assert [x.strip() for x in said[1:]] == [
        "to win: what the teacher is above a student trained without it (scripts/compare.py measures that)",
        "loss = task + (1 x kl(tau=4, alpha=1))",
        "skipped: cwd (the logit distillation losses teach all classes; name it in 'distill_feat' to add it)",
    ]


def test_a_teacher_that_is_not_better_is_warned_about(boards, tmp_path, log):
    """One that is as good as the student's start, and one that only guesses."""
    look(boards, tmp_path, "red", "red")
    assert "teacher red.pt is not better than the student's start" in lines(log)[0]
    log.clear()
    look(boards, tmp_path, "green", "red")
    assert "teacher green.pt looks untrained: accuracy_top1 0.250 is no better than chance" in lines(log)[0]


def test_the_look_leaves_no_trace(boards, tmp_path, log):
    """With and without it the same weights come out, and the callbacks of validation run as often."""
    with_look = look(boards, tmp_path / "with", "red", "blue", stop=False, optimizer="SGD")
    assert len(lines(log)) == 1 and with_look > 0
    assert look(boards, tmp_path / "without", "red", "blue", False, optimizer="SGD", distill_check=False) == with_look
    assert len(lines(log)) == 1
    assert equal(weights(tmp_path / "with"), weights(tmp_path / "without"))


def test_a_teacher_that_cannot_be_judged_is_no_obstacle(data_yaml, student_yaml, tmp_path, make_model, log):
    """Fewer classes than the student's, or another kind of head: said in one line, and the run goes on.

    One that knows none of them is warned about once, with the command that would make it useful.
    """
    segment = save_model(make_model("yolov8n-seg.yaml", trained=True), tmp_path / "seg.pt")
    model = make_model(nc=2, trained=True)
    model.names = {0: "circle", 1: "dog"}
    few = save_model(model, tmp_path / "few.pt")
    model.names = {0: "cat", 1: "dog"}
    none = save_model(model, tmp_path / "none.pt")
    files = [str(segment), str(few), str(none)]
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, model_t=files, distill_check=True))
    said = [x for x in "\n".join(log()).splitlines() if "is not measured" in x]
    warned = [x for x in log() if "no class name is shared" in x]
    assert len(said) == 2 and len(warned) == 1 and not any("none.pt" in x for x in said)
    assert f"yolo train model={none} data={data_yaml} imgsz=64" in warned[0]
    assert "skipping relative, ld, giou:" in warned[0]
    assert "teacher seg.pt, " in said[0] and ", is not measured: its Segment head is not what a student with" in said[0]
    assert "teacher few.pt, " in said[1] and ", is not measured: it knows 1 of the student's 3 classes" in said[1]


@pytest.mark.parametrize(
    "name", ["yolov8n.yaml", "yolo26n.yaml", "yolov8n-cls.yaml", "yolo26n-sem.yaml", "yolov8n-rtdetr.yaml"]
)
def test_classes_are_put_in_the_students_order(name, make_model):
    """The reduced head says of a class what the whole one said of its namesake."""
    whole, part = (make_model(name, nc=3, seed=4, trained=True).eval() for _ in range(2))
    narrow(part, {0: "stripe", 1: "circle"})
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        a, b = (y if isinstance(y, torch.Tensor) else y[0] for y in (whole(x), part(x)))
    if "cls" in name:
        torch.testing.assert_close(b, a[:, [2, 0]] / a[:, [2, 0]].sum(1, keepdim=True))
    elif "sem" in name:
        torch.testing.assert_close(b, a[:, [2, 0]])
    elif "rtdetr" not in name:
        torch.testing.assert_close(b, a[:, [0, 1, 2, 3, 6, 4]])
    assert part.names == {0: "stripe", 1: "circle"} and a.isfinite().all() and b.isfinite().all()


def test_a_live_teacher_is_copied(make_model):
    """What is measured is a copy; with `single_cls` all its classes stay."""
    teacher, student = make_model(trained=True), make_model(nc=1)
    source = Source(teacher, None, live=True)
    module = candidate(source, student, Config(single_cls=True))
    assert module is not teacher and module.names == teacher.names
    assert list(candidate(source, student, Config()).names) == [0] and len(teacher.names) == 3


def test_a_module_that_is_no_ultralytics_model(boards, tmp_path, log):
    """Any classifier is measured as it will teach: with its own image size and normalisation."""
    data, root = boards
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3))
    net[2].weight.data, net[2].bias.data = torch.eye(3).flip(0), torch.zeros(3)  # images are RGB, classes blue first
    model = YOLO(root / "blue.pt")
    more = {"distill_feat": "none", "distill_imgsz": 32, "distill_mean": 0.4, "distill_std": 0.2, "epochs": 1}
    model.train(**options(data, tmp_path, model_t=net, distill_check=True, **more))
    (line,) = lines(log)
    assert "has accuracy_top1 1.000 on 4 validation images; the student starts at accuracy_top1 0.250" in line


@pytest.mark.parametrize("total, size, seen", [(10, 4, 10), (1000, 16, 256), (3000, 500, 256), (257, 256, 256)])
def test_sample(total, size, seen):
    """At most 256 images in batches that the set has itself, from all over the set."""
    loader = torch.utils.data.DataLoader(torch.arange(total), batch_size=size)
    found, images = sample(loader)
    batches = [b.tolist() for b in found]
    assert sum(map(len, batches)) == seen == images and found.dataset is loader.dataset
    assert all(b == list(range(b[0], b[0] + len(b))) and b[0] % size == 0 for b in batches)
    assert total <= 500 or len(batches) == 1 or batches[-1][0] > total / 2


@pytest.mark.parametrize(
    "task, classes, found, expected",
    [("classify", 10, {"metrics/accuracy_top1": 0.12}, True), ("classify", 10, {"metrics/accuracy_top1": 0.3}, False),
     ("classify", 1, {"metrics/accuracy_top1": 1.0}, False), ("semantic", 4, {"metrics/mIoU": 0.2}, True),
     ("semantic", 4, {"metrics/mIoU": 0.4}, False), ("detect", 80, {"fitness": 0.004}, True),
     ("pose", 1, {"fitness": 0.3}, False)],
)  # fmt: skip
def test_chance(task, classes, found, expected):
    """What a model reaches that has learnt nothing."""
    assert guesses(found, classes, task) == expected


def test_a_teacher_that_learns_is_not_warned_about(log):
    """An online teacher may know nothing yet."""
    found = {"metrics/mAP50-95(B)": 0.0, "fitness": 0.0}
    says = " has mAP50-95(B) 0.000 on 8 validation images"
    assert report("t.pt", found, {}, 3, 8, "detect", online=True) == says and not log()
    assert report("t.pt", found, {}, 3, 8, "detect", online=False) == says and "looks untrained" in log()[-1]


@pytest.mark.parametrize(
    "start, says",
    [(0.2, "0.200\nto win: much, at most +0.300"), (0.42, "0.420\nto win: little, at most +0.080"),
     (0.49, "0.490\nto win: nothing (+0.010); train without it"), (0.6, "0.600\nto win: nothing (-0.100)"),
     (0.001, "0.001\nto win: what the teacher is above a student trained without it"),
     (None, "8 validation images\nto win: what the teacher is above a student trained without it")],
)  # fmt: skip
def test_what_there_is_to_win(start, says):
    """A line of its own has a verdict; a student that knows nothing yet is told what its teacher will be worth."""
    known = {} if start is None else {"metrics/mAP50-95(B)": start, "fitness": start}
    assert says in report("t.pt", {"metrics/mAP50-95(B)": 0.5, "fitness": 0.5}, known, 3, 8, "detect", online=False)


def test_resumed_runs_are_not_looked_at_again(monkeypatch):
    """A run that goes on has been through this; a new one is looked at."""
    looked, step = [], SimpleNamespace(online=False)
    run = SimpleNamespace(step=step, optimizer=None, sources=[], unlabeled=None)
    for name in ("evaluate_teachers", "OwnOptimizer", "restore", "log_start"):
        monkeypatch.setattr(seams, name, lambda *args, name=name: looked.append(name))
    monkeypatch.setattr(seams.summary, "note_start", lambda trainer: None)
    seams.begin(SimpleNamespace(distill=run, resume=True), {})
    seams.begin(SimpleNamespace(distill=run, resume=False), {})
    assert looked == ["OwnOptimizer", "restore", "log_start", "OwnOptimizer", "evaluate_teachers", "log_start"]
