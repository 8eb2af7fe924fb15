"""An interrupted run goes on where it stopped."""

from pathlib import Path

import pytest
import torch
from short_run import options, rows

from ultralytics import YOLO


class Stop(Exception):
    """Raised in place of a kill."""


def interrupt(student_yaml, arguments, after=1):
    """Train until an epoch is saved, then stop; return what stood in memory."""
    model, kept = YOLO(student_yaml), {}

    def stop(trainer):
        if trainer.epoch == after:
            own = trainer.model.distiller.state_dict()
            kept["own"] = {k: v.clone() for k, v in own.items()}
            kept["slots"] = [g for g in trainer.optimizer.state_dict()["param_groups"] if g.get("distill")]
            kept["weight"] = trainer.model.weight
            raise Stop

    model.add_callback("on_model_save", stop)
    with pytest.raises(Stop):
        model.train(**arguments)
    return kept


def test_resume_needs_no_argument(data_yaml, teacher_pt, student_yaml, tmp_path):
    """`resume=True` alone brings back the distiller's layers, their optimizer slots and the schedule's place."""
    more = {"model_t": str(teacher_pt), "distill_feat": "[cwd,mgd]", "distill_schedule": "linear", "nbs": 4}
    kept = interrupt(student_yaml, options(data_yaml, tmp_path, epochs=4, **more))
    last, seen = tmp_path / "run/weights/last.pt", {}
    model = YOLO(last)

    def start(trainer):
        seen["own"] = {k: v.clone() for k, v in trainer.model.distiller.state_dict().items()}
        groups = trainer.optimizer.param_groups
        seen["slots"] = [trainer.optimizer.state.get(p) for g in groups if g.get("distill") for p in g["params"]]

    def first(trainer):
        seen.setdefault("weight", trainer.model.weight)

    model.add_callback("on_train_start", start)
    model.add_callback("on_train_batch_end", first)
    model.train(resume=True)
    assert seen["own"].keys() == kept["own"].keys()
    assert all(torch.equal(v, kept["own"][k]) for k, v in seen["own"].items())
    assert seen["slots"] and all(s for s in seen["slots"])
    assert 0.1 < seen["weight"] < kept["weight"]
    assert [r["epoch"] for r in rows(tmp_path)] == [1, 2, 3, 4]


def test_resume_with_another_teacher(data_yaml, teacher_pt, student_yaml, wide_teacher_pt, tmp_path, log):
    """A teacher of other widths is allowed: its layers and their slots start fresh, said in one line."""
    more = {"model_t": str(teacher_pt), "nbs": 4, "val": True}
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
    """`model_t=None` on resume goes on without distillation."""
    interrupt(student_yaml, options(data_yaml, tmp_path, epochs=3, model_t=str(teacher_pt), nbs=4))
    model = YOLO(tmp_path / "run/weights/last.pt")
    model.train(resume=True, model_t=None)
    assert model.trainer.distill is None


def test_live_teacher_resumes(data_yaml, teacher_pt, student_yaml, tmp_path):
    """A teacher given as an object without a file is found again in the run's folder."""
    teacher = YOLO(teacher_pt).model
    del teacher.pt_path
    interrupt(student_yaml, options(data_yaml, tmp_path, epochs=3, model_t=teacher))
    model = YOLO(tmp_path / "run/weights/last.pt")
    model.train(resume=True)
    assert model.trainer.args.model_t == str(tmp_path / "run/weights/teacher.pt")
    assert len(rows(tmp_path)) == 3


def test_checkpoint_holds_plain_values(data_yaml, teacher_pt, student_yaml, tmp_path):
    """The resume state is tensors and values only: no class of ours is pickled."""
    interrupt(student_yaml, options(data_yaml, tmp_path, epochs=3, model_t=str(teacher_pt)))
    ckpt = torch.load(tmp_path / "run/weights/last.pt", weights_only=False)
    torch.save(ckpt["distill"], tmp_path / "own.pt")
    state = torch.load(tmp_path / "own.pt", weights_only=True)
    assert state["version"] == 1 and all(isinstance(v, torch.Tensor) for v in state["state"].values())
