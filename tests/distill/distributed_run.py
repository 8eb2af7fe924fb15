"""Run by torchrun in test_distributed.py: a real training by the public API; each rank writes down what it holds."""

import hashlib
import json
import os
import signal
import sys
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

from ultralytics import YOLO
from ultralytics.distill.report import summary
from ultralytics.distill.teacher import evaluation, online


def digest(module):
    """Return a hash of a module's parameters; BatchNorm's running statistics differ by rank, as upstream's do."""
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in module.parameters())).hexdigest()


def fail(*args, **kwargs):
    """Fail in one process, in place of what all would do."""
    raise OSError("spoiled for a test")


@contextmanager
def spoiled(rank):
    """Let rank 0 fail in the middle of the first look and in the report, rank 1 where the online teacher is opened."""
    look = evaluation.candidate

    def candidate(*args):
        module = look(*args)
        module.forward = fail
        return module

    with ExitStack() as stack:
        faults = [(online, "load_checkpoint", fail)] if rank else [(summary, "class_scores", fail)]
        faults += [] if rank else [(evaluation, "candidate", candidate)]
        for fault in faults:
            stack.enter_context(patch.object(*fault))
        yield


def doom(yolo, rank):
    """Let rank 1 be killed at its second batch."""
    left = [2]

    def count(trainer):
        left[0] -= 1
        if rank == 1 and not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    yolo.add_callback("on_train_batch_start", count)


def note(trainer, path):
    """Write down this rank's weights, folder and place."""
    step = trainer.distill.step
    own = [digest(m) for m in (step.distiller, *[step.teacher] * step.online)]
    said = {"student": digest(trainer.model), "own": own, "folder": str(trainer.save_dir)}
    said["plain"] = list(trainer.model.module.state_dict()) == list(trainer.ema.ema.state_dict())
    said["images"] = len(trainer.train_loader)
    if unlabeled := trainer.distill.unlabeled:
        said |= {"drawn": unlabeled.drawn, "part": [unlabeled.loader.rounds.rank, unlabeled.loader.rounds.world]}
    path.write_text(json.dumps(said))


def main(model, arguments, notes, fault):
    """Train, with a fault in one rank if there is to be one, and note what this rank holds.

    A spoiled run is taken up again from its second epoch, as if it had been interrupted there, and noted once more.
    """
    yolo, rank = YOLO(model), int(os.environ["RANK"])
    if fault == "kill":
        doom(yolo, rank)
    with spoiled(rank) if fault == "spoil" else nullcontext():
        yolo.train(**arguments)
    note(yolo.trainer, Path(notes, f"{rank}.json"))
    if fault == "spoil":
        halfway = yolo.trainer.wdir / "epoch1.pt"
        resumed = YOLO(halfway)
        resumed.train(resume=True, device="cpu", plots=False)
        note(resumed.trainer, Path(notes, f"{rank}-resumed.json"))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
