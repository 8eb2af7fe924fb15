"""An interrupted run goes on where it stopped."""

from pathlib import Path

import pytest
import torch
from short_run import equal, options, rows

from ultralytics import YOLO
from ultralytics.distill.upstream import LINE


class Stop(Exception):
    """Raised in place of a kill."""


def interrupt(student_yaml, arguments, after=1, meanwhile=lambda trainer: None):
    """Train until an epoch is saved, then stop; return what stood in memory. `meanwhile` is called at each batch."""
    model, kept = YOLO(student_yaml), {}
    model.add_callback("on_train_batch_end", meanwhile)

    def stop(trainer):
        if trainer.epoch == after:
            kept.update(look(trainer))
            raise Stop

    model.add_callback("on_model_save", stop)
    with pytest.raises(Stop):
        model.train(**arguments)
    return kept


def look(trainer):
    """Return copies of what has to come back: the distiller, its optimizer's slots, the average, the bookkeeping."""
    slots = [s for _, own in trainer.distill.optimizer.pairs for s in own.state.values()]
    named = {f"{i}/{k}": torch.as_tensor(v) for i, s in enumerate(slots) for k, v in s.items() if v is not None}
    tensors = {
        "own": trainer.distill.step.distiller.state_dict(),
        "slots": named,
        "ema": {k: v.half() if v.is_floating_point() else v for k, v in trainer.ema.ema.state_dict().items()},
    }
    kept = {k: {n: v.clone() for n, v in t.items()} for k, t in tensors.items()}
    plain = trainer.ema.updates, trainer.best_fitness, trainer.stopper.best_fitness, trainer.stopper.best_epoch
    balance = trainer.distill.step.balance.state()
    return {**kept, "plain": plain, "patience": trainer.stopper.patience, "balance": balance}


def follow(model):
    """Let a model note, for each epoch of its training, the rates and the distillation's weight at the first batch."""
    seen = {}

    def note(trainer):
        rates = [g["lr"] for g in trainer.optimizer.param_groups]
        seen.setdefault(trainer.epoch, (trainer.distill.step.weight, rates, trainer.accumulate))

    model.add_callback("on_train_batch_end", note)
    return seen


@pytest.mark.parametrize("optimizer", ["SGD", pytest.param("AdamW", marks=pytest.mark.slow)])
def test_resume_needs_no_argument(optimizer, data_yaml, teacher_pt, student_yaml, tmp_path):
    """`resume=True` alone: epoch, schedules, distiller, optimizer, balance and average are those at the stop."""
    more = {"model_t": str(teacher_pt), "distill_feat": "[cwd,mgd]", "distill_schedule": "linear", "nbs": 4}
    more |= {"optimizer": optimizer, "epochs": 5, "warmup_epochs": 2, "val": True, "distill_balance": "ratio"}
    whole = YOLO(student_yaml)
    expected = follow(whole)
    whole.train(**options(data_yaml, tmp_path / "whole", **more))
    kept = interrupt(student_yaml, options(data_yaml, tmp_path, **more))
    model, found = YOLO(tmp_path / "run/weights/last.pt"), {}
    model.add_callback("on_train_start", lambda trainer: found.update(look(trainer)))
    seen = follow(model)
    model.train(resume=True)
    for what in ("own", "slots", "ema"):
        assert kept[what] and equal(found[what], kept[what]), what
    assert found["balance"] == kept["balance"] and all(kept["balance"].values())
    count = 4 if LINE == "8.4" else 2  # 8.3 counts its patience anew
    assert found["plain"][:count] == kept["plain"][:count] and found["patience"] == kept["patience"]
    assert list(seen) == [2, 3, 4] and seen == {k: expected[k] for k in seen}
    assert [r["epoch"] for r in rows(tmp_path)] == [1, 2, 3, 4, 5]


def test_resume_with_another_teacher(data_yaml, teacher_pt, student_yaml, wide_teacher_pt, tmp_path, log):
    """A teacher of other widths is allowed: its layers and their slots start fresh, said in one line."""
    more = {"model_t": str(teacher_pt), "distill_feat": "cwd", "nbs": 4, "val": True}
    interrupt(student_yaml, options(data_yaml, tmp_path, epochs=3, **more))
    YOLO(tmp_path / "run/weights/last.pt").train(resume=True, model_t=str(wide_teacher_pt))
    assert sum("start fresh" in line for line in log()) == 1
    assert len(rows(tmp_path)) == 3


def test_resume_without_teacher_file(data_yaml, teacher_pt, student_yaml, tmp_path):
    """A teacher that is gone is named."""
    gone = tmp_path / "gone.pt"
    gone.write_bytes(Path(teacher_pt).read_bytes())
    interrupt(student_yaml, options(data_yaml, tmp_path, epochs=3, model_t=str(gone)))
    gone.unlink()
    with pytest.raises(FileNotFoundError, match="gone.pt' does not exist"):
        YOLO(tmp_path / "run/weights/last.pt").train(resume=True)


def test_resume_plainly(data_yaml, teacher_pt, student_yaml, tmp_path):
    """`model_t=None` on resume goes on without distillation; `results.csv` has no cell of it under another name."""
    more = {"model_t": str(teacher_pt), "distill_feat": "cwd", "nbs": 4, "val": True}
    interrupt(student_yaml, options(data_yaml, tmp_path, epochs=3, **more))
    model, named = YOLO(tmp_path / "run/weights/last.pt"), {}
    model.add_callback("on_model_save", lambda trainer: named.update({**trainer.metrics, **trainer.lr}))
    model.train(resume=True, model_t=None)
    assert model.trainer.distill is None
    *_, before, last = rows(tmp_path)
    own = {k for k in last if k.startswith(("distill/", "train/dfea", "train/dlogit"))}
    assert len(own) > 3 and all(before[k] == before[k] and last[k] != last[k] for k in own)
    assert len(named) > 8 and all(last[k] == pytest.approx(v, rel=1e-4) for k, v in named.items() if k in last)
    kept = torch.load(tmp_path / "run/weights/last.pt", weights_only=False)["train_results"]
    if LINE == "8.4":  # 8.3 keeps its own
        assert kept["val/cls_loss"] == [r["val/cls_loss"] for r in rows(tmp_path)]


def test_live_teacher_resumes(data_yaml, teacher_pt, student_yaml, tmp_path):
    """A teacher given as an object without a file is found again in the run's folder, as it was when the run began."""
    teacher = YOLO(teacher_pt).model
    del teacher.pt_path
    weight = teacher.model[0].conv.weight
    before = weight.detach().clone()

    def change(trainer):
        weight.data += 1.0  # its owner trains it on, say

    interrupt(student_yaml, options(data_yaml, tmp_path, epochs=3, model_t=teacher), meanwhile=change)
    saved = YOLO(tmp_path / "run/weights/teacher.pt").model.model[0].conv.weight
    assert torch.equal(saved, before) and not torch.equal(weight, before)
    model = YOLO(tmp_path / "run/weights/last.pt")
    model.train(resume=True)
    assert model.trainer.args.model_t == str(tmp_path / "run/weights/teacher.pt")
    assert len(rows(tmp_path)) == 3


def test_checkpoint_holds_plain_values(data_yaml, teacher_pt, student_yaml, tmp_path):
    """The resume state is tensors and values only: no class of ours is pickled."""
    interrupt(student_yaml, options(data_yaml, tmp_path, epochs=3, model_t=str(teacher_pt), distill_feat="cwd"))
    ckpt = torch.load(tmp_path / "run/weights/last.pt", weights_only=False)
    torch.save(ckpt["distill"], tmp_path / "own.pt")
    state = torch.load(tmp_path / "own.pt", weights_only=True)
    assert state["version"] == 2 and all(isinstance(v, torch.Tensor) for v in state["state"].values())
    assert state["optimizers"][0]["state"]
