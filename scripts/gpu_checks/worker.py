"""A training in a process of its own: one that is killed, or one of two ranks on one device."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any


def launch(model: str, arguments: dict[str, Any], kill: int = 0, ranks: int = 0, notes: str = "") -> int:
    """Train in a new process, or in several, and return the exit code.

    Args:
        model (str): The student.
        arguments (dict): Those of `train`.
        kill (int): Step before which the process kills itself; 0 lets it live.
        ranks (int): Processes that torchrun starts, with gloo, on the same device; 0 for a process without a group.
        notes (str): Folder where each rank writes down what it holds at the end.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks else []
    given = json.dumps([model, arguments, kill, notes])
    return subprocess.run([sys.executable, *launcher, str(Path(__file__).resolve()), given], check=False).returncode


def share_device() -> None:
    """Let all ranks join with gloo on the first GPU, where upstream would give each its own."""
    import torch
    from torch import distributed as dist

    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.utils import RANK

    def join(trainer: Any) -> None:
        torch.cuda.set_device(0)
        trainer.device = torch.device("cuda", 0)
        dist.init_process_group("gloo", timeout=timedelta(seconds=60), rank=RANK, world_size=trainer.world_size)

    BaseTrainer._setup_ddp = join


def digest(module: Any) -> str:
    """Return a hash of a module's parameters."""
    values = [p.detach().float().cpu().numpy().tobytes() for p in module.parameters()]
    return hashlib.sha256(b"".join(values)).hexdigest()


def main(model: str, arguments: dict[str, Any], kill: int, notes: str) -> None:
    """Train, and write down what this rank holds."""
    from ultralytics import YOLO
    from ultralytics.distill.upstream import unwrap_model

    if notes and arguments["device"] != "cpu":
        share_device()
    yolo, left = YOLO(model), [kill]

    def count(trainer: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    yolo.add_callback("on_train_batch_start", count)
    yolo.train(**arguments)
    if notes:
        said = {"student": digest(unwrap_model(yolo.trainer.model)), "images": len(yolo.trainer.train_loader)}
        Path(notes, f"{os.environ['RANK']}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
