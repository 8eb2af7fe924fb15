"""Checkpoints are whole or as they were."""

import errno
import os

import pytest
import torch
from short_run import options

from ultralytics import YOLO
from ultralytics.distill.runtime import checkpoints


@pytest.mark.parametrize("step, number", [("fsync", errno.ENOSPC), ("open", errno.EACCES)])
def test_an_error_leaves_the_previous_file(step, number, tmp_path, monkeypatch):
    """A full disk in the middle of a write, or a folder without access: the old content stands, nothing beside it.

    A kill at the same place is in test_kill.py.
    """
    path, says = tmp_path / "last.pt", os.strerror(number)
    checkpoints.write_whole(path, b"old")

    def fail(*args):
        raise OSError(number, says)

    monkeypatch.setattr(*(os, "fsync", fail) if step == "fsync" else (checkpoints, "open", fail), raising=False)
    with pytest.raises(OSError, match=rf"last.pt. cannot be written \({says}\) and stays as it was"):
        checkpoints.write_whole(path, b"new content")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_save_whole_is_torch_save(tmp_path):
    """What is saved loads as it was."""
    checkpoints.save_whole({"x": torch.arange(3)}, tmp_path / "x.pt")
    assert torch.load(tmp_path / "x.pt")["x"].tolist() == [0, 1, 2]


def test_a_run_that_cannot_save(data_yaml, teacher_pt, student_yaml, tmp_path):
    """The system writes no further: a clear error, the last epoch's checkpoint is whole, and the run resumes."""
    resource = pytest.importorskip("resource")  # the system itself refuses to write so large a file
    limits, saved = resource.getrlimit(resource.RLIMIT_FSIZE), {}
    model, last = YOLO(student_yaml), tmp_path / "run/weights/last.pt"

    def refuse(trainer):
        if trainer.epoch == 1:
            saved["last"] = last.read_bytes()
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))

    model.add_callback("on_train_epoch_end", refuse)
    try:
        with pytest.raises(OSError, match=r"last.pt' cannot be written \(File too large\) and stays .*; make room"):
            model.train(**options(data_yaml, tmp_path, epochs=3, model_t=str(teacher_pt)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert last.read_bytes() == saved["last"] and not list(last.parent.glob("*.part"))
    assert torch.load(last, weights_only=False)["epoch"] == 0
    YOLO(last).train(resume=True)
    assert torch.load(last, weights_only=False)["epoch"] == -1  # finished


def test_every_checkpoint_goes_this_way(data_yaml, teacher_pt, student_yaml, tmp_path, monkeypatch):
    """last.pt, best.pt, epoch files, their stripped forms and the online teacher's, in a distilled run."""
    seen, write = [], checkpoints.write_whole

    def count(path, data):
        seen.append(os.path.basename(path))
        write(path, data)

    monkeypatch.setattr(checkpoints, "write_whole", count)
    monkeypatch.setattr("ultralytics.engine.trainer.write_whole", count)
    more = {"model_t": str(teacher_pt), "distill_online": True, "save_period": 1, "val": True}
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, **more))
    assert {n: seen.count(n) for n in set(seen)} == {"last.pt": 2, "best.pt": 2, "epoch0.pt": 1, "teacher_last.pt": 1}
    assert not list((tmp_path / "run/weights").glob("*.part"))
