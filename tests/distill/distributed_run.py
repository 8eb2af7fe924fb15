"""Run by torchrun in test_distributed.py: a real training by the public API; each rank writes down what it holds."""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

from ultralytics import YOLO
from ultralytics.distill.report import summary
from ultralytics.distill.teacher import evaluation, online


def digest(module):
    """Return a hash of a module's parameters; BatchNorm's running statistics differ by rank, as upstream's do."""
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in module.parameters())).hexdigest()


def fail(*args, **kwargs):
    """Fail in one process, in place of what all would do."""
    raise OSError("spoiled for a test")


def spoil(rank):
    """Let rank 0 fail in the middle of the first look and in the report, rank 1 where the online teacher is opened."""
    if rank == 1:
        online.load_checkpoint = fail
        return
    look, summary.class_scores = evaluation.candidate, fail

    def candidate(*args):
        module = look(*args)
        module.forward = fail
        return module

    evaluation.candidate = candidate


def main(model, arguments, notes, fault):
    """Train, with a fault in one rank if there is to be one, and note this rank's weights and folder."""
    yolo, rank = YOLO(model), int(os.environ["RANK"])
    if fault == "spoil":
        spoil(rank)
    if fault == "kill":
        doom = {"left": 2}

        def count(trainer):
            doom["left"] -= 1
            if rank == 1 and not doom["left"]:
                os.kill(os.getpid(), signal.SIGKILL)

        yolo.add_callback("on_train_batch_start", count)
    yolo.train(**arguments)
    trainer = yolo.trainer
    step = trainer.distill.step
    own = [digest(m) for m in (step.distiller, *[step.teacher] * step.online)]
    note = {"student": digest(trainer.model), "own": own, "folder": str(trainer.save_dir)}
    note["plain"] = list(trainer.model.module.state_dict()) == list(trainer.ema.ema.state_dict())
    note["images"] = len(trainer.train_loader)
    if unlabeled := trainer.distill.unlabeled:
        note |= {"drawn": unlabeled.drawn, "part": [unlabeled.loader.rounds.rank, unlabeled.loader.rounds.world]}
    Path(notes, f"{rank}.json").write_text(json.dumps(note))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
