# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A real process is killed with SIGKILL, in the middle of epochs and of writes; what it leaves can be resumed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time

import pytest
import torch
from short_run import options, rows

from ultralytics import YOLO
from ultralytics.distill.runtime import checkpoints

pytestmark = pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="needs SIGKILL")
MOMENTS = ("step", "before the write", "half written", "before the swap", "after the swap")


@pytest.fixture(scope="module")
def processes():
    """Where processes come from: forked off a server of their own, which has imported all that takes long."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ultralytics", "ultralytics.models.yolo.detect", "ultralytics.distill.trainer"])
    return context


def train(pipe, model, arguments, moment, share):
    """Train in this process, tell of each step, and die by its own hand at a moment of a checkpoint's write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    model, calls = YOLO(model), {}

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def arm(trainer):
        pipe.send(trainer.epoch)
        if moment == "step":
            return
        calls[trainer.epoch] = True
        if len(calls) == 2:  # this process has been through a whole write before
            plan(moment, share, die)

    model.add_callback("on_train_batch_end", arm)
    model.train(**arguments)
    pipe.send("done")


def plan(moment, share, die):
    """Make the next write of a checkpoint end at a moment."""
    swap, inner = os.replace, open

    class Torn:
        """A file that takes a share of what is written."""

        def __init__(self, path, mode):
            self.file = inner(path, mode)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[: int(len(data) * share)])
            self.file.flush()
            die()

    def swapped(*args):
        swap(*args)
        die()

    if moment == "before the write":
        checkpoints.open = die
    elif moment == "half written":
        checkpoints.open = Torn
    else:
        os.replace = die if moment == "before the swap" else swapped


def live_and_die(processes, start, arguments, moment, rng):
    """Start a process, kill it at a moment, and return whether it got to its end before."""
    ours, theirs = processes.Pipe(duplex=False)
    child = processes.Process(target=train, args=(theirs, start, arguments, moment, rng.random()))
    child.start()
    theirs.close()
    try:
        steps, said = rng.randrange(1, 8), None
        while said != "done":
            said = ours.recv()
            steps -= 1
            if moment == "step" and not steps:
                time.sleep(rng.random() * 0.2)  # anywhere in what follows: a step, a validation, a write
                os.kill(child.pid, signal.SIGKILL)
                break
    except EOFError:
        pass
    child.join(60)
    assert child.exitcode in {0, -signal.SIGKILL}
    return child.exitcode == 0


def killed_over_and_over(processes, student_yaml, arguments, moments, folder):
    """Kill a run at each moment, resuming it in between; after each, every checkpoint is whole and nothing is lost."""
    rng, weights, reached = random.Random(0), folder / "run/weights", -1
    for moment in moments:
        last = weights / "last.pt"
        start, line = (str(last), {"resume": True}) if last.exists() else (str(student_yaml), arguments)
        if live_and_die(processes, start, line, moment, rng):
            break
        for path in weights.glob("*.pt"):
            ckpt = torch.load(path, weights_only=False)
            assert ckpt["ema"] is not None and ckpt["distill"]["state"] and ckpt["optimizer"]["state"], (moment, path)
        if last.exists():
            epoch = torch.load(last, weights_only=False)["epoch"]
            assert epoch >= reached, moment
            reached = epoch
    return reached


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_and_resumed(kills, processes, data_yaml, teacher_pt, student_yaml, tmp_path):
    """After every kill a whole `last.pt` is there, no older than before, and in the end the run gets to its end."""
    moments = ["half written", "step"] if kills == 2 else [MOMENTS[i % 5] for i in range(kills)]
    arguments = options(data_yaml, tmp_path, epochs=4 * kills, model_t=str(teacher_pt), distill_logit=None, nbs=4)
    reached = killed_over_and_over(processes, student_yaml, arguments, moments, tmp_path)
    assert 0 <= reached < arguments["epochs"] - 1
    YOLO(tmp_path / "run/weights/last.pt").train(resume=True)
    assert [*dict.fromkeys(r["epoch"] for r in rows(tmp_path))] == [*range(1, arguments["epochs"] + 1)]
    assert not list((tmp_path / "run").rglob("*.part"))
