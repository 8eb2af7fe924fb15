# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Distillation from a compiled student."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from lines import needs_84
from short_run import options, rows
from torch._dynamo.utils import counters

from ultralytics import RTDETR, YOLO
from ultralytics.distill.training.step import Step
from ultralytics.distill.upstream import save_yaml, unwrap_model
from ultralytics.engine import trainer as upstream

pytestmark = needs_84("has no compile=")


def graph_only(model, device=None, mode=None, **_):
    """Compile as far as the graph, without the minutes that generating code takes."""
    return torch.compile(model, backend="aot_eager") if mode else model


def compile_student(step):
    """Return the same step with a compiled student."""
    torch._dynamo.reset()
    return Step(graph_only(step.student.train(), mode=True), step.distiller, step.teacher)


def first_weight(trainer):
    """Return the first layer's weight of a trainer's student."""
    return unwrap_model(trainer.model).model[0].conv.weight.detach()


@pytest.mark.slow
@pytest.mark.parametrize("student, teacher", [("yolo26n.yaml", "yolo26n.yaml"), ("yolov8n-seg.yaml", "yolov8n.yaml")])
def test_same_loss_and_gradient(student, teacher, make_model, make_step, make_batch):
    """Every entry of the loss is the eager one's, and so is the gradient that reaches the first layer."""
    terms = {"distill_feat": ["mgd", "cwd"], "distill_logit": "bckd", "distill_rel": "sp"}
    eager = make_step(make_model(student), make_model(teacher, width=0.1875, seed=1, trained=True), **terms)
    fast, batch = compile_student(copy.deepcopy(eager)), make_batch()
    if "seg" in student:
        batch["masks"], batch["sem_masks"] = torch.ones(2, 64, 64), torch.zeros(2, 64, 64)
    found = []
    for step in (eager, fast):
        torch.manual_seed(0)  # mgd masks at random
        loss, items = step(dict(batch))
        loss.sum().backward()
        found.append((loss, list(items), step.student.model[0].conv.weight.grad))
    (loss, names, grad), (loss_c, names_c, grad_c) = found
    assert names == names_c
    torch.testing.assert_close(loss_c, loss, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(grad_c, grad, rtol=1e-3, atol=1e-3 * grad.abs().max().item())


@pytest.mark.slow
def test_compiled_once(make_model, make_step, make_batch):
    """No step after the first compiles anything, the schedule's pauses included."""
    step = make_step(make_model(), make_model(seed=1, trained=True), distill_feat="cwd", distill_logit="bckd")
    step = compile_student(step)
    step(make_batch())[0].sum().backward()
    before = counters["stats"]["unique_graphs"]
    for seed, weight in ((1, 1.0), (2, 0.0), (3, 0.5)):
        step.weight = weight
        step(make_batch(seed=seed))[0].sum().backward()
    assert counters["stats"]["unique_graphs"] == before > 0


@pytest.mark.parametrize(
    "more, says",
    [
        ({"distill_layers": [9]}, "does not show the student's layer 9"),
        ({"distill_logit": "crosskd", "distill_feat": "cwd"}, "compares inside the student's head"),
        ({"model": "yolov8n-rtdetr.yaml"}, "a RTDETRDetectionModel takes labels"),
    ],
)
def test_off_where_it_cannot_work(more, says, request, tmp_path, monkeypatch, log):
    """The run goes on without, and one line says why."""
    monkeypatch.setattr(upstream, "attempt_compile", graph_only)
    data_yaml, teacher_pt, make_model = map(request.getfixturevalue, ("data_yaml", "teacher_pt", "make_model"))
    run = {"model_t": str(teacher_pt), "compile": True, "fraction": 0.5, "distill_logit": "none", "imgsz": 64, **more}
    path = request.getfixturevalue("student_yaml")
    if name := run.pop("model", None):
        path = tmp_path / name
        save_yaml(path, {k: v for k, v in make_model(name).yaml.items() if k not in {"yaml_file", "ch"}})
    (RTDETR if name else YOLO)(path).train(**options(data_yaml, tmp_path, **run))
    said = [x for x in log() if "'compile=True' is switched off" in x]
    assert len(said) == 1 and says in said[0] and rows(tmp_path)[0]["train/dfea_loss"] > 0


def test_a_run(data_yaml, teacher_pt, student_yaml, tmp_path, monkeypatch):
    """`compile=True` trains with all kinds of terms what a plain run trains, and ends with a plain checkpoint."""
    monkeypatch.setattr(upstream, "attempt_compile", graph_only)
    terms = {"distill_feat": "cwd", "distill_logit": "bckd", "distill_rel": "sp"}
    more = {"model_t": str(teacher_pt), "optimizer": "SGD", "nbs": 4, "warmup_epochs": 0, **terms}
    moved, found = [], []
    for fast in (False, True):
        model, start = YOLO(student_yaml), []
        model.add_callback("on_train_start", lambda t, start=start: start.append(first_weight(t).clone()))
        model.train(**options(data_yaml, tmp_path / str(fast), compile=fast, **more))
        moved.append(first_weight(model.trainer) - start[0])
        found.append(rows(tmp_path / str(fast))[0])
    trained, average = model.trainer.model, model.trainer.ema.ema
    assert hasattr(trained, "_orig_mod")  # as upstream compiles it, around the plain student
    assert list(unwrap_model(trained).state_dict()) == list(average.state_dict()) and "loss" not in vars(trained)
    names = [k for k in found[0] if k.startswith(("train/", "distill/"))]
    assert {"train/dfea_loss", "train/dlogit_loss", "train/drel_loss", "distill/bckd"} <= set(names)
    assert all(found[1][k] == pytest.approx(found[0][k], rel=1e-2) for k in names)
    assert moved[0].abs().max() > 0  # two steps have taken it where the gradients led
    torch.testing.assert_close(moved[1], moved[0], rtol=1e-2, atol=1e-2 * moved[0].abs().max().item())
    assert type(YOLO(tmp_path / "True/run/weights/last.pt").model).__name__ == "DetectionModel"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="generating code for a CPU takes a C++ compiler")
def test_a_run_with_generated_code(data_yaml, teacher_pt, student_yaml, tmp_path):
    """The same with upstream's own call, inductor."""
    torch._dynamo.reset()
    more = {"model_t": str(teacher_pt), "distill_feat": "cwd", "compile": True}
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, epochs=2, **more))
    assert len(rows(tmp_path)) == 2 and rows(tmp_path)[1]["train/dfea_loss"] > 0
