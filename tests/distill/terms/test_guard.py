# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A term that is no number later in the run costs its own word in that batch, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch
from lines import learners, named, needs_84
from short_run import equal, options, rows
from torch import nn

from ultralytics import YOLO
from ultralytics.distill.teacher.several import SeveralTeachers
from ultralytics.distill.terms.several import SeveralDistillers

HERE = f"{__name__}:"
NUMBERS = {"nan": float("nan"), "inf": float("inf"), "fine": 1.0}


class Breaks(nn.Module):
    """A user's loss with a layer of its own, which can be told to return what is no number."""

    align = False

    def __init__(self, channels_s: int = 1):
        """Build the layer."""
        super().__init__()
        self.own, self.factor = nn.Conv2d(channels_s, 4, 1), "fine"

    def forward(self, student, teacher, batch):
        """Return the student's size as the layer sees it."""
        return self.own(student).square().mean() * NUMBERS[self.factor]


@pytest.fixture
def make(make_model, make_step):
    """A step with the breaking term between two sound ones, past its first batch's check."""

    def build(**more):
        terms = {"distill_feat": f"[mimic,{HERE}Breaks]", "distill_logit": "bckd(margin=0)", "dfea": [2, 3], **more}
        step = make_step(make_model(), make_model(width=0.1875, seed=1, trained=True), **terms)
        step.checked = True
        return step

    return build


def losses_of(step):
    """Return the breaking term's losses, one for each pair."""
    return next(t for t in step.distiller.terms if t.name == "Breaks").losses


def gradients(step, batch):
    """Return the loss vector of a batch and the gradients of its sum, by name."""
    parts = learners(step)
    parts.zero_grad()
    loss, items = step(batch)
    loss.sum().backward()
    found = {n: p.grad.clone() for n, p in parts.named_parameters() if p.grad is not None}
    return loss.detach(), found, named(step, items)


@pytest.mark.parametrize("what", ["nan", "inf"])
def test_only_the_broken_part_is_left_out(what, make, make_batch, log):
    """Loss and gradients are those of a run without that part: the other pairs, terms and the task go on."""
    step, batch = make(), make_batch()
    twin = make()
    learners(twin).load_state_dict(learners(step).state_dict())
    losses_of(step)[1].factor = what
    losses_of(twin)[1].forward = lambda s, t, b: (s * 0).sum()
    loss, found, items = gradients(step, batch)
    expected, wanted, _ = gradients(twin, batch)
    assert torch.isfinite(loss).all() and torch.allclose(loss, expected) and torch.isfinite(items["dfea_loss"])
    silent = "distiller.terms.1.losses.1."
    assert not any(found.pop(n).any() for n in [n for n in found if n.startswith(silent)])  # its own layer stands still
    assert found.keys() == wanted.keys() and all(torch.allclose(found[n], wanted[n], atol=1e-6) for n in found)
    lines = [x.replace("WARNING ⚠️ ", "") for x in log() if "skipped in this batch" in x]  # upstream's, in 8.4
    assert lines == [
        f"Distillation: 'Breaks/P4' (student layer 18, teacher layer 18) is {what} and skipped in this "
        f"batch, the task loss goes on; batches so far: 1"
    ]


def test_warnings_are_counted_not_repeated(make, make_batch, log):
    """The first and the tenth time are said, with the count; every time is counted."""
    step, batch = make(), make_batch(size=32)
    losses_of(step)[0].factor = "nan"
    for _ in range(11):
        step(batch)
    assert [x.rpartition(" ")[2] for x in log() if "skipped in" in x] == ["1", "10"]
    assert step.record.broken == {"Breaks/P3": 11}


def test_means_are_over_what_was_a_number(make, make_batch):
    """A broken batch does not poison the epoch's mean; a part that never was a number is nan there."""
    step, batch = make(distill_feat=f"{HERE}Breaks", dfea=1), make_batch()
    first, second, third = losses_of(step)
    third.factor = "nan"
    step(batch)
    one = step.record.sums[0].item()
    first.factor = "inf"
    step(batch)
    means = step.take_means()
    assert means["distill/Breaks/P3"] == pytest.approx(one) and math.isnan(means["distill/Breaks/P5"])
    assert math.isfinite(means["distill/Breaks/P4"]) and math.isfinite(means["distill/bckd"])


def test_a_term_that_overflows_with_its_gain(make, make_batch):
    """A finite part that its gain makes infinite takes its column along, not the task loss."""
    step = make(dfea=[2, 1e38])
    for loss in losses_of(step):
        nn.init.constant_(loss.own.weight, 1e3)
    loss, found, items = gradients(step, make_batch())
    assert torch.isfinite(loss).all() and items["dfea_loss"] == 0 and items["dlogit_loss"] > 0
    assert all(torch.isfinite(g).all() for g in found.values())
    assert step.record.broken == {"dfea_loss": 1}


def test_several_teachers_fail_apart(make, make_batch):
    """One teacher's broken part leaves the other teacher's column as it was."""
    step, other = make(distill_feat=f"{HERE}Breaks", dfea=1), make(distill_feat="mimic", dfea=1)
    both = SeveralDistillers([step.distiller, other.distiller], ["a.pt", "b.pt"])
    losses_of(step)[0].factor = "nan"
    twin = type(step)(step.student, both, SeveralTeachers([step.teacher, other.teacher]))
    twin.checked = True
    loss, found, items = gradients(twin, make_batch())
    assert torch.isfinite(loss).all() and all(torch.isfinite(g).all() for g in found.values())
    assert items["dfea_loss"] > sum(v for k, v in twin.take_means().items() if k.startswith("distill/t2/mimic"))
    assert twin.record.broken == {"t1/Breaks/P3": 1}


def test_training_goes_on(data_yaml, teacher_pt, student_yaml, tmp_path, log):
    """A real run with broken batches ends with sound weights, finite columns and its count of them."""
    model = YOLO(student_yaml)

    def break_second(trainer):
        for loss in losses_of(trainer.distill.step):
            loss.factor = "inf" if trainer.epoch == 1 else "fine"

    model.add_callback("on_train_batch_start", break_second)
    more = {"model_t": str(teacher_pt), "distill_feat": f"[cwd,{HERE}Breaks]", "distill_logit": "bce", "nbs": 4}
    model.train(**options(data_yaml, tmp_path, epochs=3, **more))
    first, second, third = rows(tmp_path)
    assert all(math.isfinite(second[k]) and second[k] > 0 for k in second if k.startswith("train/d"))
    assert math.isnan(second["distill/Breaks/P3"]) and math.isfinite(second["distill/cwd/P3"])
    assert all(map(math.isfinite, third.values())) and third["distill/Breaks/P3"] > 0
    assert all(torch.isfinite(v).all() for v in model.model.state_dict().values())
    assert model.trainer.distill.step.record.broken == dict.fromkeys(("Breaks/P3", "Breaks/P4", "Breaks/P5"), 2)
    assert len([x for x in log() if "skipped in this" in x]) == 3


@needs_84("does not recover from a loss that is no number")
def test_nan_recovery_restores_the_distiller(data_yaml, teacher_pt, student_yaml, tmp_path, log):
    """Where the task loss itself breaks, upstream goes back to `last.pt`: our layers and their slots go with it."""
    model, kept = YOLO(student_yaml), {}

    def state(trainer):
        state = trainer.distill.optimizer.pairs[0][1].state
        slots = [state[p]["exp_avg"] for p in trainer.distill.step.distiller.parameters()]
        own = {k: v.clone() for k, v in trainer.distill.step.distiller.state_dict().items()}
        return own, {str(i): v.clone() for i, v in enumerate(slots)}

    def save(trainer):
        kept[trainer.epoch] = state(trainer)

    def poison(trainer):
        if trainer.epoch == 2 and "poisoned" not in kept:
            if trainer.distill.batch == 0:  # the last batch is next
                kept["poisoned"] = state(trainer)
                trainer.model.model[0].conv.weight.data.fill_(float("nan"))

    def again(trainer):
        if "poisoned" in kept:
            kept.setdefault("again", state(trainer))

    model.add_callback("on_model_save", save)
    model.add_callback("on_train_batch_start", poison)
    model.add_callback("on_train_epoch_start", again)
    model.train(
        **options(data_yaml, tmp_path, epochs=4, model_t=str(teacher_pt), distill_feat="cwd", optimizer="AdamW", nbs=4)
    )
    assert any("recovering from last.pt" in x for x in log())
    assert not equal(kept["poisoned"][0], kept[1][0])  # the epoch had moved on
    assert equal(kept["again"][0], kept[1][0]) and equal(kept["again"][1], kept[1][1])
    assert len(rows(tmp_path)) == 4 and all(torch.isfinite(v).all() for v in model.model.state_dict().values())
