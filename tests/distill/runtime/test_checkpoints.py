"""Checkpoints are whole or as they were."""

import errno
import os
import signal
import subprocess
import sys

import pytest
import torch
from short_run import options

from ultralytics import YOLO
from ultralytics.distill.runtime import checkpoints


def test_a_full_disk_leaves_the_previous_file(tmp_path, monkeypatch):
    """An OSError in the middle of a write: the old content stands, nothing is left beside it."""
    path = tmp_path / "last.pt"
    checkpoints.write_whole(path, b"old")

    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"last.pt. cannot be written \(No space left on device\) and stays as it was"):
        checkpoints.write_whole(path, b"new content")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_save_whole_is_torch_save(tmp_path):
    """What is saved loads as it was."""
    checkpoints.save_whole({"x": torch.arange(3)}, tmp_path / "x.pt")
    assert torch.load(tmp_path / "x.pt")["x"].tolist() == [0, 1, 2]


KILL = """
import os, signal, sys
from ultralytics.distill.runtime import checkpoints
checkpoints.write_whole(sys.argv[1], b"old" * 1000)
os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)
checkpoints.write_whole(sys.argv[1], b"new" * 1000)
"""


def test_a_kill_while_writing_leaves_the_previous_file(tmp_path):
    """SIGKILL with the new bytes half on their way."""
    done = subprocess.run([sys.executable, "-c", KILL, str(tmp_path / "last.pt")], cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "last.pt").read_bytes() == b"old" * 1000


@pytest.mark.parametrize("cause", ["full", "unwritable"])
def test_a_run_that_cannot_save(cause, data_yaml, teacher_pt, student_yaml, tmp_path, monkeypatch):
    """A full disk or a folder without access: a clear error, the last epoch's checkpoint whole, and it resumes."""
    resource = pytest.importorskip("resource")  # the system itself refuses to write so large a file
    limits, saved = resource.getrlimit(resource.RLIMIT_FSIZE), {}
    model, last = YOLO(student_yaml), tmp_path / "run/weights/last.pt"

    def refuse(trainer):
        if trainer.epoch == 2:
            saved["last"] = last.read_bytes()
            if cause == "full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
            else:  # the user of a test may be root, whom no mode keeps out
                monkeypatch.setattr(checkpoints, "open", deny, raising=False)

    def deny(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    model.add_callback("on_train_epoch_end", refuse)
    says = {"full": "File too large", "unwritable": "Permission denied"}[cause]
    try:
        with pytest.raises(OSError, match=rf"last.pt' cannot be written \({says}\) and stays as it was; make room"):
            model.train(**options(data_yaml, tmp_path, epochs=4, model_t=str(teacher_pt)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        monkeypatch.undo()
    assert last.read_bytes() == saved["last"] and not list(last.parent.glob("*.part"))
    assert torch.load(last, weights_only=False)["epoch"] == 1
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
