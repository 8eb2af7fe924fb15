"""A teacher that learns along."""

import pytest
import torch
from lines import needs_84
from short_run import columns, options, rows

from ultralytics import YOLO
from ultralytics.distill import losses
from ultralytics.distill.report import summary
from ultralytics.distill.teacher.online import OnlineTeacher, share_class_weights
from ultralytics.distill.upstream import LINE, unwrap_model


def run(student_yaml, arguments, **callbacks):
    """Train with callbacks and return the model."""
    model = YOLO(student_yaml)
    for event, function in callbacks.items():
        model.add_callback(event, function)
    model.train(**arguments)
    return model


def test_recipe_alone(data_yaml, student_yaml, teacher_pt, tmp_path, log):
    """`distill_online=True` alone: the teacher's own loss falls, its average is a plain checkpoint with its metrics.

    The report is on that teacher, not on what it was at the start.
    """
    more = {"distill_online": True, "nbs": 4, "optimizer": "SGD", "lr0": 0.01, "warmup_epochs": 0}
    model = run(student_yaml, options(data_yaml, tmp_path, epochs=6, model_t="yolov8n.yaml", **more))
    losses_of_teacher = [r["train/dline_loss"] for r in rows(tmp_path)]
    assert sum(losses_of_teacher[-2:]) < 0.95 * sum(losses_of_teacher[:2])
    last = tmp_path / "run/weights/teacher_last.pt"
    ckpt = torch.load(last, weights_only=False)
    assert type(ckpt["model"]).__name__ == "DetectionModel" and ckpt["model"].names[2] == "stripe"
    assert len(YOLO(last).predict(torch.rand(1, 3, 64, 64), verbose=False)) == 1
    assert "metrics/mAP50-95(B)" in model.trainer.distill.step.teacher.metrics
    assert "val/dline_loss" not in columns(tmp_path)
    summary.write(tmp_path / "run")
    assert any(f"validating the teacher for the report, {last}" in x for x in log())


def test_gradients_stay_apart(data_yaml, student_yaml, teacher_pt, tmp_path):
    """The teacher's gradient is that of its own task loss: no distillation term and no gain of one reaches it."""
    seen = []
    for i, gain in enumerate((1.0, 50.0)):

        def first(trainer, count=i):
            if len(seen) == count:
                seen.append([p.grad.clone() for p in trainer.distill.step.teacher.parameters() if p.grad is not None])

        more = {"distill_online": True, "dfea": gain, "dlogit": gain, "distill_rel": "sp"}
        more |= {"nbs": 64, "warmup_epochs": 0}  # no step before the look
        arguments = options(data_yaml, tmp_path / str(i), model_t=str(teacher_pt), **more)
        run(student_yaml, arguments, on_train_batch_end=first)
    assert seen[0] and all(torch.equal(a, b) for a, b in zip(*seen))


@pytest.mark.slow
def test_own_groups_and_freeze(data_yaml, student_yaml, teacher_pt, tmp_path):
    """The teacher's weights are optimised by upstream's rules; the student's `freeze` leaves it alone."""

    def look(trainer):
        teacher = trainer.distill.step.teacher
        groups = trainer.distill.optimizer.pairs[-1][1].param_groups
        held = {id(p) for g in groups for p in g["params"]}
        assert {id(p) for p in teacher.parameters() if p.requires_grad} <= held
        assert {g.get("param_group") for g in groups} >= {"weight", "bn", "bias"} or LINE == "8.3"  # has no names there
        named = trainer.model.named_modules()
        frozen = [m for n, m in named if "model.0." in n and hasattr(m, "running_mean")]
        assert frozen and (LINE == "8.3" or not any(m.training for m in frozen))  # freezes weights alone
        assert all(m.training for m in teacher.modules())
        means = [m.num_batches_tracked.item() for m in teacher.modules() if hasattr(m, "running_mean")]
        assert min(means) > 100  # the fixture's statistics, and at least one batch more

    arguments = options(data_yaml, tmp_path, model_t=str(teacher_pt), distill_online=True, freeze=3)
    run(student_yaml, arguments, on_train_batch_end=look)


@pytest.mark.slow
def test_one_forward_of_the_whole_graph(data_yaml, student_yaml, teacher_pt, tmp_path):
    """The online teacher runs once a step, though its loss, maps and predictions are all used."""
    calls = []

    def count(trainer):
        trainer.distill.step.teacher.net.model[-1].register_forward_hook(lambda m, a, o: calls.append(1))

    model = run(
        student_yaml,
        options(data_yaml, tmp_path, model_t=str(teacher_pt), distill_online=True, distill_rel="[sp,rkd,crd]"),
        on_train_start=count,
    )
    assert len(calls) == len(model.trainer.train_loader)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["feat", "logit", "rel"])
def test_every_term(kind, data_yaml, student_yaml, teacher_pt, tmp_path):
    """Each feature, response and relation term works with a teacher that learns."""
    names = {"feat": losses.FEATURE, "logit": losses.RESPONSE, "rel": losses.RELATION}[kind]
    usable = [n for n in names if n not in {"kl", "dist"}]  # those are for classifiers
    off = {"distill_feat": None, "distill_logit": None}
    more = {"distill_online": True, **off, f"distill_{kind}": usable}
    run(student_yaml, options(data_yaml, tmp_path, model_t=str(teacher_pt), **more))
    header = " ".join(columns(tmp_path))
    assert all(f"distill/{n}" in header for n in usable)


def test_resume(data_yaml, student_yaml, teacher_pt, tmp_path):
    """An interrupted run brings back the teacher, its average, its optimizer slots and class weights."""
    kept, found = {}, {}

    class Stop(Exception):
        """Raised in place of a kill."""

    def stop(trainer):
        if trainer.epoch == 1:
            teacher = trainer.distill.step.teacher
            kept["weighted"] = getattr(teacher.net.criterion, "class_weights", None)
            kept.update(net=teacher.net.state_dict(), ema=teacher.ema.ema.state_dict(), updates=teacher.ema.updates)
            raise Stop

    def start(trainer):
        teacher, state = trainer.distill.step.teacher, trainer.distill.optimizer.pairs[-1][1].state
        found.update(net=teacher.net.state_dict(), ema=teacher.ema.ema.state_dict(), updates=teacher.ema.updates)
        found["net"] = {k: v.clone() for k, v in found["net"].items()}
        found["slots"] = [state.get(p) for p in teacher.parameters() if p.requires_grad]

    weighted = {"cls_pw": 0.5} if LINE == "8.4" else {}  # 8.3 has no such argument
    more = {"model_t": str(teacher_pt), "distill_feat": "cwd", "distill_online": True, "nbs": 4, **weighted}
    arguments = options(data_yaml, tmp_path, epochs=3, **more)
    with pytest.raises(Stop):
        run(student_yaml, arguments, on_model_save=stop)
    model = YOLO(tmp_path / "run/weights/last.pt")
    model.add_callback("on_train_start", start)
    model.train(resume=True)
    assert found["updates"] == kept["updates"] > 0 and all(found["slots"])
    assert all(torch.equal(v, kept["net"][k]) for k, v in found["net"].items())
    saved = torch.load(tmp_path / "run/weights/teacher_last.pt", weights_only=False)["model"]
    if weighted:
        teacher = model.trainer.distill.step.teacher
        assert saved.class_weights.mean() == 1 and kept["weighted"] is not None
        assert torch.equal(teacher.net.class_weights, unwrap_model(model.trainer.model).class_weights)
        assert teacher.net.criterion.class_weights is not None


@needs_84("has no criterion whose branches' weights change")
def test_branches_weigh_what_the_students_do(make_model, make_args):
    """At the start of each epoch a YOLO26 teacher's branches weigh what upstream lets the student's weigh then."""
    teacher, student = (make_model("yolo26n.yaml") for _ in range(2))
    teacher.args = student.args = make_args(epochs=5)
    online, criterion = OnlineTeacher(teacher, [15], False, 1.0), student.init_criterion()
    for epoch in range(4):
        online.begin_epoch(epoch)
        assert (teacher.criterion.o2m, teacher.criterion.o2o) == (criterion.o2m, criterion.o2o)
        criterion.update()  # as upstream does after an epoch
    assert criterion.o2m < 0.5


@needs_84("has no class weights")
@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo26n.yaml", "yolov8n-obb.yaml", "yolo26n-sem.yaml"])
def test_class_weights(name, make_model, make_batch):
    """What the student's classes weigh, the teacher's weigh too."""
    student = make_model(name)
    batch, weights = make_batch(task=student.task), torch.tensor([2.0, 0.75, 0.25])
    teacher, alike = (OnlineTeacher(make_model(name, seed=1), [], False, 1.0) for _ in range(2))
    share_class_weights(student, teacher)
    assert not hasattr(teacher.net, "class_weights")  # the student has none
    student.class_weights = weights
    share_class_weights(student, teacher)
    weighted, plain = teacher(batch)[1], alike(batch)[1]
    alike.net.class_weights, alike.net.criterion = weights, None
    assert torch.equal(alike(batch)[1], weighted) and not torch.isclose(plain, weighted)
    assert torch.equal(teacher.ema.ema.class_weights, weights)


def test_one_teacher_only(data_yaml, student_yaml, teacher_pt, tmp_path):
    """Several teachers, or the student's own average, cannot be trained along."""
    for teachers in ([str(teacher_pt)] * 2, "ema"):
        with pytest.raises(ValueError, match="distill_online=True"):
            run(student_yaml, options(data_yaml, tmp_path, model_t=teachers, distill_online=True))
