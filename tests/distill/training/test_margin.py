# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Who is ahead on the validation set, and what it does to the weight of the terms."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from short_run import options, rows

from ultralytics import YOLO
from ultralytics.distill.report.curves import taught, term_parts
from ultralytics.distill.schedule import Constant, Linear, Warmup
from ultralytics.distill.terms.balance import Ratio
from ultralytics.distill.terms.several import SeveralDistillers
from ultralytics.distill.training.margin import Margin, Watch, announce, make_margin
from ultralytics.distill.training.run import Run, begin_batch


def trainer(teachers, schedule=None, step=None, epochs=10):
    """Return a trainer at its first batch, whose teachers have a fitness each."""
    margin = Margin([f"t{i}.pt" for i in range(len(teachers))], teachers=list(teachers))
    step = step or SimpleNamespace(
        weight=None, online=False, student=None, shares={}, take_means=dict, arm=lambda: None,
        distiller=SimpleNamespace(margins=None), balance=SimpleNamespace(rule=None, factor=1.0),
    )  # fmt: skip
    if not hasattr(step, "weights"):
        groups = [f"t{i}" for i in range(1, len(teachers) + 1)] if len(teachers) > 1 else [""]
        step.weights = lambda: {g: step.weight * w for g, w in zip(groups, step.distiller.margins or [1.0])}
    configs, sources = [SimpleNamespace(stop=0)], [SimpleNamespace(module=1)] * len(teachers)
    run = Run(configs, sources, schedule or Constant(), None, margin, step, SimpleNamespace(begin_batch=lambda: None))
    args = SimpleNamespace(time=None)
    return SimpleNamespace(distill=run, tloss=None, epoch=0, epochs=epochs, train_loader=[0], args=args)


def weights(it, fitness):
    """Go through epochs whose students have a fitness each; return the weight in each epoch."""
    found = []
    for value in fitness:
        it.tloss = None
        begin_batch(it)
        found.append(it.distill.step.weight)
        it.distill.margin.see(value)
        it.epoch += 1
    return found


@pytest.mark.parametrize(
    "teacher, student, expected",
    [
        (0.35, [0.1, 0.25, 0.3, 0.3, 0.3], [1, 1, 1, 1, 1]),  # 0.05 ahead: teaches with full weight to the end
        (0.35, [0.1, 0.36, 0.36, 0.36, 0.36], [1, 1, 0, 0, 0]),  # behind from the second epoch's end on
        (0.35, [0.35, 0.35, 0.35, 0.35, 0.35], [1, 1, 1, 1, 1]),  # its mirror image: neither is behind
        (0.0, [0.0, 0.0, 0.0, 0.0, 0.001], [1, 1, 1, 1, 1]),  # both know nothing yet
        (0.35, [0.36, 0.34, 0.36, 0.3, 0.3], [1, 0, 1, 0, 1]),  # the last look counts, not an earlier one
        (None, [0.9, 0.9, 0.9, 0.9, 0.9], [1, 1, 1, 1, 1]),  # not measured
        (0.35, [None, None, None, None, None], [1, 1, 1, 1, 1]),  # never validated
        (0.35, [0.4, float("nan"), None, 0.3, 0.3], [1, 0, 0, 0, 1]),  # no number and no look change nothing
    ],
)
def test_the_weight_by_who_is_ahead(teacher, student, expected):
    """1 while the teacher is ahead or as good, 0 once it is behind the student's last validation."""
    assert weights(trainer([teacher]), student) == expected


def test_a_student_that_starts_ahead_is_left_alone():
    """The first look measures it too, so its first epoch is plain; a schedule goes on below the margin."""
    it = trainer([0.35], Linear(end=0.5))
    it.distill.margin.see(0.5)
    assert weights(it, [0.5, 0.2, 0.2]) == pytest.approx([0, 0, 0.9])


def test_it_goes_on_after_an_interruption():
    """What a checkpoint keeps is plain and restores the weight; no process asks another where there is none."""
    before, after = trainer([0.35, None]).distill.margin, trainer([None, None]).distill.margin
    before.see(0.4)
    assert before.state() == {"teachers": [0.35, None], "student": 0.4}
    after.load_state(before.state())
    after.share()
    assert after.weights == [0, 1] and after.known and after.columns() == {"distill/margin/t1": pytest.approx(-0.05)}


def test_two_teachers(make_model, make_distiller, make_step, make_batch):
    """Each has its own: the terms of the one that is behind weigh nothing, the other's are as before."""
    it = trainer([0.3, 0.5])
    assert weights(it, [0.4, 0.6, 0.6]) == [1, 1, 0] and it.distill.margin.weights == [0, 0]
    student, other = make_model("yolov8n.yaml"), make_model("yolov8n.yaml", seed=1, trained=True)
    steps = [make_step(student, other, distill_logit=x) for x in ("giou", "bckd")]
    both = SeveralDistillers([s.distiller for s in steps], ["a.pt", "b.pt"])
    batch = make_batch()
    shown = [s.teacher(batch["img"]) for s in steps]
    seen = SimpleNamespace(output=student.train()(batch["img"]), maps={}, features={}, shares={})
    full, parts = both(seen, shown, batch, {})
    assert float(both.left) == pytest.approx(1)
    both.margins = [0.0, 1.0]
    columns, same = both(seen, shown, batch, {})
    assert float(columns["dlogit_loss"]) == pytest.approx(float(parts[1])) and float(parts[0]) == float(same[0]) > 0
    assert float(both.left) == pytest.approx(float(parts[1]) / float(full["dlogit_loss"]))
    assert both.group_weights({}) == {"t1": 0, "t2": 1}


@pytest.mark.parametrize("left", [1.0, 0.1])
def test_balance_does_not_make_up_for_it(left, make_model, make_step, make_batch):
    """With a share of 0.1 left the terms are a tenth of what the balance gives them, not ten times lifted."""
    step = make_step(make_model("yolov8n.yaml"), make_model("yolov8n.yaml", seed=1, trained=True), distill_logit="bckd")
    step.balance.rule = Ratio(share=0.5, clamp=1e6)
    forward = step.distiller.add_up

    def add_up(parts):
        step.distiller.shares = {"one2many": left}
        return forward(parts)

    step.distiller.add_up = add_up
    loss = step(make_batch())[0]
    assert (loss[-1] / loss[:-1].sum()).item() == pytest.approx(0.5 * left, rel=1e-4)


def test_an_end_to_end_students_columns(make_model, make_step, make_batch):
    """Branches have their shares in the weights in force; those that one branch alone uses have one weight."""
    student = make_model("yolo26n.yaml")
    step = make_step(student, make_model("yolo26n.yaml", seed=1, trained=True), distill_logit="bckd")
    step.shares, step.weight = {"one2many": 1.6, "one2one": 0.4}, 0.5
    assert step.weights() == pytest.approx({"one2many": 0.8, "one2one": 0.2})
    feature = make_step(student, make_model("yolo26n.yaml", seed=1), distill_feat="cwd")
    assert feature.distiller.group_weights({"one2many": 0.2, "one2one": 1.8}) == {"": 0.2}


def test_a_fall_is_told_once(log):
    """One line below a half, one below a hundredth, one for both at once; a warm-up is no fall."""
    watch = Watch()
    for epoch, weight in enumerate((1, 0.6, 0.4, 0.6, 0.4, 0.009, 1, 0), 1):
        watch.see({"": weight}, 1.0, epoch, "why")
    assert [x.split("epoch ")[1] for x in log() if "teach with less" in x] == [
        "3 the terms teach with less than half their weight (why)",
        "6 the terms teach with less than a hundredth of their weight (why)",
    ]
    log.clear()
    weights(trainer([0.35], Warmup(0.5)), [0.1] * 9)
    assert not log()
    weights(trainer([0.35, 0.9]), [0.36] * 9)
    (line,) = log()
    assert "from epoch 2 the terms of t1 teach with less than a hundredth" in line
    assert "t0.pt (0.350) is behind the student (0.360) on the validation set" in line


def test_the_report_says_when_the_terms_taught():
    """Nothing where they taught throughout; else the epochs, by teacher; an epoch without a value is no gap."""
    columns = {"epoch": [1, 2, 3, 4, 5, 6], "distill/weight": [1, 0.5, 0, 0.1, 0, 0], "distill/margin": [0.1] * 6}
    assert taught(columns) == "The terms taught in epochs 1-2, 4 of 6." and not term_parts(columns)
    each = {"distill/weight/t1": [1.0] * 6, "distill/weight/t2": [0.0] * 6}
    assert taught({**columns, **each}) == "The terms of t2 taught in none of 6."
    assert taught({"epoch": [1, 2], "distill/weight": [float("nan"), 1]}) == ""


@pytest.mark.parametrize(
    "more, says",
    [({}, ""), ({"val": False}, "'val=False'"), ({"check": False}, "'distill_check=False'"), ({"online": True}, "too")],
)
def test_nobody_sees_who_is_ahead(more, says, log):
    """Where an argument hides it the terms teach to the end, and one sentence says so; not of terms that were named."""
    config = SimpleNamespace(online=more.get("online", False), check=more.get("check", True), terms=[])
    args = SimpleNamespace(val=more.get("val", True))
    margin = make_margin(SimpleNamespace(args=args), [config], [SimpleNamespace(name="t.pt", module=1)])
    margin.teachers = [0.1]
    margin.see(0.2)
    assert says in margin.why_not and bool(says) == bool(margin.why_not) and margin.weights == [1.0 if says else 0.0]
    for auto in (False, True):
        config.terms = [SimpleNamespace(auto=auto)]
        announce(SimpleNamespace(distill=SimpleNamespace(margin=margin, configs=[config])))
    assert len([x for x in log() if f"with {says} nobody sees" in x]) == says.startswith("'")


def test_a_student_that_passes_its_teacher(data_yaml, teacher_pt, student_yaml, tmp_path, monkeypatch, log):
    """A real run whose validations are drawn: the terms rest from the third epoch on, and everything says so.

    Interrupted and resumed it rests on; another teacher is looked at anew, and teaches.
    """
    drawn = [0.3, 0.1, 0.4]

    def measured(self, *args, **kwargs):
        return {"metrics/mAP50-95(B)": 0.3, "fitness": drawn.pop(0) if drawn else 0.4}

    monkeypatch.setattr("ultralytics.models.yolo.detect.DetectionValidator.__call__", measured)
    model, kept = YOLO(student_yaml), {}
    model.add_callback("on_model_save", lambda t: kept.update({t.epoch: t.distill.margin.state()}))
    more = {"val": True, "distill_check": True, "save_period": 1, "epochs": 3, "model_t": str(teacher_pt)}
    model.train(**options(data_yaml, tmp_path, **more))
    told = rows(tmp_path)
    assert [r["distill/weight"] for r in told] == [1, 1, 0] and told[2]["train/dlogit_loss"] == 0 < told[1][
        "distill/ld"
    ]
    assert [r["distill/margin"] for r in told] == pytest.approx([0.2, -0.1, -0.1])
    assert kept[1] == {"teachers": [0.3], "student": 0.4}
    assert len([x for x in log() if "from epoch 3 the terms teach with less than a hundredth" in x]) == 1
    halfway = tmp_path / "run/weights/epoch1.pt"
    for given, first, weight in (({}, 0.4, 0), ({"model_t": str(teacher_pt)}, 0.5, 1)):
        drawn[:] = [first]
        halfway.with_name("last.pt").write_bytes(halfway.read_bytes())
        model = YOLO(halfway.with_name("last.pt"))
        seen = []
        model.add_callback("on_train_batch_end", lambda t, seen=seen: seen.append(t.distill.step.weight))
        model.train(resume=True, **given)
        assert set(seen) == {weight}


def test_parameter_of_a_former_version(make_args):
    """`lead` is refused by a sentence that says what holds instead."""
    from ultralytics.distill.config import read

    with pytest.raises(ValueError, match="'lead' is gone.*'distill_check=False' keeps"):
        read(make_args(distill_logit="ld(lead=0)"))
