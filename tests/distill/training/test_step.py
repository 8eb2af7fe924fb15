# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A training step: the student stays a plain model, and its loss holds the terms."""

from __future__ import annotations

import copy
import io
from types import SimpleNamespace

import pytest
import torch
from lines import listed, named, needs_84
from torch.utils._python_dispatch import TorchDispatchMode

from ultralytics.distill.trainer import csv_columns
from ultralytics.distill.training.step import batch_factor
from ultralytics.utils.torch_utils import ModelEMA


@pytest.fixture
def step(make_model, make_step):
    """A student and a wider teacher with a feature and a response term."""
    student, teacher = make_model(), make_model(width=0.1875, seed=1, trained=True)
    return make_step(student, teacher, distill_feat="mgd", distill_logit="bckd")


def count(module, calls):
    """Count the calls of a module under its name."""
    module.register_forward_pre_hook(lambda m, args: calls.append(type(m).__name__))


def test_the_student_stays_plain(step, make_batch):
    """Before and after a step the student has its own attributes, loss and hooks; a copy or pickle of it is plain."""
    student = step.student
    plain = vars(student).keys() | {"criterion"}
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules())
    step(make_batch())
    assert vars(student).keys() | {"criterion"} == plain
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules()) == hooks
    ema = ModelEMA(student).ema
    ema.criterion = None  # as upstream's checkpoint drops it
    buffer = io.BytesIO()
    torch.save(ema, buffer)
    assert b"ultralytics.distill" not in buffer.getvalue()


def test_one_call_of_the_loss_is_the_steps(step, make_batch):
    """Armed, the next loss holds the terms, also where it fails; the one after is the student's own."""
    student, batch = step.student, make_batch()
    step.arm()
    assert len(listed(student(batch)[1])) == 5 and len(listed(student(batch)[1])) == 3
    step.arm()
    with pytest.raises(KeyError):
        student({"img": batch["img"]})
    assert "loss" not in vars(student) and len(listed(student(batch)[1])) == 3


def test_a_loss_that_the_student_holds_itself(step, make_batch):
    """A user's own in place of its class's is what the task is measured by, and is there again after the step."""
    student, batch, calls = step.student, make_batch(), []

    def own(batch, preds=None):
        calls.append(1)
        return type(student).loss(student, batch, preds)

    student.loss = own
    for _ in range(2):
        step.arm()
        assert step.armed and len(listed(student(batch)[1])) == 5
        assert not step.armed and student.loss is own
    assert len(calls) == 2
    step.arm()
    step.disarm()
    assert student.loss is own


@pytest.mark.parametrize("before", [False, True])
def test_a_loss_that_takes_more(before, step, make_batch):
    """What a user's loop gives its model's own loss beside the batch arrives there, after a forward or with one."""
    student, batch, given = step.student, make_batch(), []

    def own(batch, preds=None, *more, factor=1, **rest):
        given.append((preds is not None, more, factor, rest))
        return type(student).loss(student, batch, preds)

    student.loss = own
    step.arm()
    preds = student(batch["img"]) if before else None
    loss, items = student(batch, preds, "epoch", factor=2, name="x")
    assert given == [(before, ("epoch",), 2, {"name": "x"})] and len(listed(items)) == 5
    step.arm()
    again = student.loss(batch, factor=2, **({"preds": student(batch["img"])} if before else {}))[0]
    assert given[1] == (before, (), 2, {}) and again.shape == loss.shape


def test_a_loss_whose_second_argument_is_no_prediction(step, make_batch):
    """A model's own word in that place is not taken for what the student returned."""
    student, batch = step.student, make_batch()
    student.loss = lambda batch, epoch=0: type(student).loss(student, batch)
    step.arm()
    assert len(listed(student(batch, 3)[1])) == 5


def test_a_model_that_does_not_ask_for_its_loss_is_said(step, make_batch, log, tmp_path):
    """A user's forward that computes a loss by itself, or a model put in the student's place, is never taught."""
    run = SimpleNamespace(step=step, batch=0, begun=False, folder=SimpleNamespace(keep=lambda: None))
    trainer = SimpleNamespace(distill=run, metrics={}, csv=tmp_path / "results.csv", epoch=0, epochs=1)
    for taught in (True, False):
        step.arm()
        if taught:
            step.student(make_batch())
        csv_columns(trainer, {f"train/{c}": 0.0 for c in step.columns})
        assert sum("does not call its loss" in x for x in log()) == (not taught)


def test_one_forward_each(step, make_batch):
    """A step runs the student once and the teacher once, whatever terms are on, and leaves no hook in the student."""
    calls, student = [], step.student
    count(student.model[0], calls)
    count(student.model[-1], calls)
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules())
    count(step.teacher.model.model[0], calls)
    count(step.teacher.model.model[-1], calls)
    step(make_batch())
    assert sorted(calls) == ["Conv", "Conv", "Detect", "Detect"]
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules()) == hooks


def test_task_loss_is_upstreams(step, make_batch):
    """The student's own losses come first and are bit for bit what the student alone returns for the batch."""
    student, batch = step.student, make_batch()
    alone = copy.deepcopy(student).train()
    loss, items = step(batch)
    expected, names = alone(batch)
    terms = sum(listed(items)[-2:]) * len(batch["img"])
    assert torch.equal(loss[:-2], expected.view(-1)) if loss.ndim else torch.isclose(loss - terms, expected)
    assert not any(v.requires_grad for v in listed(items))
    if isinstance(items, dict):
        assert list(items) == [*names, "dfea_loss", "dlogit_loss"]
    assert listed(items)[:-2] == listed(names)
    for a, b in zip(student.buffers(), alone.buffers()):
        assert torch.equal(a, b)  # BatchNorm saw the batch once


def test_weight_zero_leaves_the_teacher_out(step, make_batch):
    """Where the schedule is at zero the teacher does not run, the columns stay and are zero, the task trains on."""
    calls = []
    count(step.teacher.model.model[0], calls)
    step.weight = 0.0
    loss, items = step(make_batch())
    assert not calls and set(named(step, items)) >= {"dfea_loss", "dlogit_loss"}
    assert not any(listed(items)[-2:])
    loss.sum().backward()
    assert step.student.model[0].conv.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in step.distiller.parameters())
    assert step.take_means() == dict.fromkeys((f"distill/{x}" for x in step.distiller.parts), 0)


def test_weight_scales_terms_not_parts(make_model, make_step, make_batch):
    """The schedule's weight scales the loss and its columns; the unweighted parts do not follow it."""
    c = make_step(make_model(), make_model(seed=1), distill_feat="cwd")
    seen = []
    for weight in (1.0, 0.25):
        c.weight = weight
        *_, columns = c.compute(make_batch())
        seen.append((columns["dfea_loss"].item(), list(c.take_means().values())))
    assert seen[1][0] == pytest.approx(seen[0][0] / 4) and seen[1][1] == pytest.approx(seen[0][1])


@needs_84("has no YOLO26")
def test_terms_follow_the_weights_of_the_students_branches(make_model, make_step, make_batch):
    """An end-to-end loss moves from one head to the other over the run, and each term follows its branch."""
    student, teacher = make_model("yolo26n.yaml"), make_model("yolo26n.yaml", seed=1, trained=True)
    step = make_step(student, teacher, distill_feat="cwd", distill_logit="bckd(margin=0)", dlogit=3)
    step(make_batch())
    step.take_means()
    student.criterion.o2m, student.criterion.o2o = 0.25, 0.75
    *_, feature, response = step(make_batch())[0] / len(make_batch()["img"])
    parts = step.take_means()
    assert feature.item() == pytest.approx(0.5 * sum(v for k, v in parts.items() if k.startswith("distill/cwd")))
    both = 0.5 * parts["distill/bckd/one2many"] + 1.5 * parts["distill/bckd/one2one"]
    assert response.item() == pytest.approx(3 * both)


def test_a_distiller_is_shown_what_it_asked_for(make_model, make_step, make_batch, monkeypatch):
    """The map at which gradients are looked at is not among the distiller's, nor does its size excuse a zero term."""
    step = make_step(make_model("yolov8n-cls.yaml"), make_model("yolov8n-cls.yaml", seed=1), distill_logit="kl")
    shown, whole = [], step.distiller.forward
    monkeypatch.setattr(step.distiller, "forward", lambda s, *more: shown.append(dict(s.maps)) or whole(s, *more))
    step(make_batch(size=32, task="classify"))  # one cell in the last map
    assert shown == [{}] and step.checked


def test_means_over_the_epoch(step, make_batch):
    """Parts are averaged since the last call, which starts anew."""
    single = []
    for seed in (0, 1):
        torch.manual_seed(seed)  # of mgd's mask
        step(make_batch(seed=seed))
        single.append(list(step.take_means().values()))
    for seed in (0, 1):
        torch.manual_seed(seed)
        step(make_batch(seed=seed))
    both = step.take_means()
    assert list(both) == ["distill/mgd/P3", "distill/mgd/P4", "distill/mgd/P5", "distill/bckd"]
    assert list(both.values()) == pytest.approx([(a + b) / 2 for a, b in zip(*single)], rel=1e-5)
    assert set(step.take_means().values()) == {0}


@pytest.mark.parametrize("yaml, factor", [("yolov8n.yaml", 4), ("yolov8n-cls.yaml", 1), ("yolov8n-rtdetr.yaml", 1)])
def test_terms_are_scaled_as_the_criterion_scales(yaml, factor, make_model, make_step, make_batch):
    """Detectors multiply their means by the batch, classifiers and RT-DETR do not; terms follow, columns never do."""
    c, batch = make_step(make_model(yaml), make_model(yaml, seed=1), distill_feat="cwd"), make_batch(n=4)
    if "cls" in yaml:
        batch = {"img": batch["img"], "cls": batch["cls"].flatten().long()}
    torch.manual_seed(0)  # of RT-DETR's noise
    task, _, columns = c.compute(batch)
    torch.manual_seed(0)
    loss, items = c(batch)
    assert batch_factor(c.student, batch) == factor and loss.ndim == task.ndim  # in the form of the student's own
    assert loss.sum().item() == pytest.approx((task.sum() + factor * columns["dfea_loss"]).item(), rel=1e-5)
    assert named(c, items)["dfea_loss"].item() == pytest.approx(columns["dfea_loss"].item())


def test_teacher_stays_frozen(step, make_batch):
    """Training, eval, freezing and steps of the step change nothing in the teacher."""
    teacher = step.teacher.model
    before, modes = {k: v.clone() for k, v in teacher.state_dict().items()}, [m.training for m in teacher.modules()]
    optimizer = torch.optim.SGD([*step.student.parameters(), *step.distiller.parameters()], lr=0.01)
    for _ in range(2):
        step.student.train().requires_grad_(True)
        step(make_batch())[0].sum().backward()
        optimizer.step()
        step.student.eval()
    assert modes == [m.training for m in teacher.modules()] and not any(p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())


class Questions(TorchDispatchMode):
    """Counts what makes the host wait for a GPU: a number or a truth read off a tensor, a mask turned into indices."""

    def __init__(self):
        """Start at zero."""
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Count and go on."""
        self.count += func._schema.name in {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero"}
        return func(*args, **(kwargs or {}))


def test_one_question_to_the_device_a_step(make_model, make_step, make_batch):
    """The recipe's step asks a GPU whether the terms are numbers, and once as its assigner does, for the margin."""
    student, teacher = make_model(), make_model(width=0.1875, seed=1, trained=True)
    step = make_step(student, teacher, distill_feat="cwd", distill_logit="auto")
    step(make_batch())  # the first batch looks closer
    with Questions() as plain:
        student(make_batch())
    with Questions() as ours:
        step(make_batch())
    assert plain.count > 0 and ours.count == plain.count + 2
