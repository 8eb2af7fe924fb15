"""Checks (i) and (j): two processes on one device with gloo, NCCL alone, and a run that was killed.

Run as a module it is such a process: a training that is killed, or one of two ranks.
"""

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

import torch
from torch import distributed as dist
from torch import nn

from gpu_checks.stage import Stage, need
from ultralytics import YOLO
from ultralytics.distill.upstream import unwrap_model
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import RANK


def several(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(i) Train with two ranks, whose weights must be equal, and compare a step under NCCL with one without."""
    notes = stage.folder / "notes"
    notes.mkdir(exist_ok=True)
    arguments = stage.arguments("i", 3 if stage.small else 10, distill_feat="[cwd,mgd]", distill_check=True)
    done = launch(str(stage.folder / "student.yaml"), arguments, ranks=2, notes=str(notes))
    need(done == 0, f"two ranks ended with code {done}")
    said = [json.loads((notes / f"{rank}.json").read_text()) for rank in (0, 1)]
    need(said[0] == said[1], f"the ranks hold unlike weights: {said}")
    columns = stage.columns("i")
    taught = columns["train/dfea_loss"][-1]
    need(taught > 0, f"no term: {columns}")
    text = f"two gloo ranks end with equal weights, dfea {taught:.3g}"
    if not stage.cuda:
        return f"{text}; NCCL needs a GPU", {"row": columns}
    alone = stage.gradient()[1]
    dist.init_process_group("nccl", init_method=(stage.folder / "store").resolve().as_uri(), rank=0, world_size=1)
    ddp = nn.parallel.DistributedDataParallel
    wrapped = stage.gradient(lambda model: ddp(model, device_ids=[0], find_unused_parameters=True))[1]
    dist.destroy_process_group()
    apart = ((wrapped - alone).norm() / alone.norm()).item()
    need(apart <= 1e-3, f"{text}; under NCCL the gradient is {apart:.2e} apart")
    return f"{text}; under NCCL the gradient is {apart:.1e} apart", {"row": columns, "nccl": apart}


def killed(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(j) Kill a run in its second epoch and resume it."""
    steps, epochs = 3 if stage.small else 10, 3
    arguments = stage.arguments("j", steps, epochs=epochs, distill_feat="mgd", val=False)
    done = launch(str(stage.folder / "student.yaml"), arguments, kill=steps + 2)
    need(done == -signal.SIGKILL, f"the run ended with code {done} and not by the kill")
    last = stage.folder / "runs/j/weights/last.pt"
    saved = torch.load(last, map_location="cpu", weights_only=False)
    need(saved["epoch"] == 0 and "distill" in saved, f"the checkpoint is of epoch {saved['epoch']}")
    done = launch(str(last), {"resume": True, "device": stage.device})
    need(done == 0, f"the resumed run ended with code {done}")
    columns = stage.columns("j")
    values = columns["train/dfea_loss"]
    need(columns["epoch"] == [1, 2, 3], f"epochs in results.csv: {columns['epoch']}")
    need(all(v > 0 for v in values), "an epoch has no term")
    said = ", ".join(f"{v:.3g}" for v in values)
    return f"killed in epoch 2, ended with {epochs} epochs, dfea {said}", {"dfea": values}


def launch(model: str, arguments: dict[str, Any], kill: int = 0, ranks: int = 0, notes: str = "") -> int:
    """Train in a new process, or in several, and return the exit code.

    `kill` is a step before which the process kills itself, `ranks` how many torchrun starts on the same device, with
    gloo, and `notes` a folder where each of them writes down what it holds at the end.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks else []
    given = json.dumps([model, arguments, kill, notes])
    command = [sys.executable, *launcher, "-m", "gpu_checks.processes", given]
    return subprocess.run(command, cwd=Path(__file__).resolve().parent.parent, check=False).returncode


def share_device() -> None:
    """Let all ranks join with gloo on the first GPU, where upstream would give each its own."""

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
