# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Several processes: training that torchrun started, on CPU or over nodes, and what all processes must agree on."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ultralytics.distill.runtime.errors import reason
from ultralytics.utils import LOCAL_RANK, RANK

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

RUN = "import importlib, json, sys; m, f, a = json.loads(sys.argv[1]); getattr(importlib.import_module(m), f)(*a)"


def launched_size(size: int) -> int:
    """Return the number of processes: the launcher's word where there is one, else what upstream counted."""
    return int(os.getenv("WORLD_SIZE", size)) if LOCAL_RANK != -1 else size


def loader_workers(workers: int, processes: int = 1) -> int:
    """Return how many workers load images for each process of a run: at most its share of the cores, as upstream."""
    return min(workers, (os.cpu_count() or 1) // processes)


def join_on_cpu(trainer: BaseTrainer) -> bool:
    """Join the launcher's process group with gloo if the trainer runs on a CPU."""
    if trainer.device.type != "cpu":
        return False
    if not dist.is_initialized():  # a second training in the same processes finds its group
        limit = timedelta(seconds=10800)  # as long as upstream waits on GPUs
        dist.init_process_group("gloo", timeout=limit, rank=RANK, world_size=trainer.world_size)
    return True


def wrap_on_cpu(trainer: BaseTrainer) -> bool:
    """Wrap the model in DDP on a CPU, where upstream's own line would ask for a device's number."""
    if trainer.device.type != "cpu":
        return False
    known = inspect.signature(DistributedDataParallel).parameters
    sync = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # its name from 2.13 on
    options: dict[str, Any] = {"find_unused_parameters": not bool(trainer.args.compile), sync: False}
    trainer.model = DistributedDataParallel(trainer.model, **options)
    return True


def agree_on_folder(trainer: BaseTrainer) -> None:
    """Give every process the results folder of rank 0, which alone made one; others would count up to another name."""
    said = [str(trainer.save_dir)]
    dist.broadcast_object_list(said, src=0)
    trainer.save_dir = Path(said[0])
    trainer.args.save_dir, trainer.args.name = said[0], trainer.save_dir.name
    trainer.wdir, trainer.csv = trainer.save_dir / "weights", trainer.save_dir / "results.csv"
    trainer.last, trainer.best = trainer.wdir / "last.pt", trainer.wdir / "best.pt"


def agree_on_epochs(trainer: BaseTrainer) -> None:
    """Give every process the number of epochs of rank 0; with `time=` each reckons by its own clock.

    A schedule by another number would weigh the terms unlike, or leave them out in one process alone.
    """
    if getattr(trainer.args, "time", None) and is_distributed():  # 8.0 has no `time=`
        said = [trainer.epochs]
        dist.broadcast_object_list(said, src=0)
        trainer.epochs = trainer.args.epochs = said[0]


def is_distributed() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Return the mean over all processes, each of which must ask; in one process the values as they are."""
    if is_distributed():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def run_in_subprocess(function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function in a process of its own; upstream's validators would wait for every process of the launcher."""
    call = json.dumps([function.__module__, function.__name__, arguments])
    env = {k: v for k, v in os.environ.items() if k not in {"RANK", "LOCAL_RANK", "WORLD_SIZE"}}
    env["PYTHONPATH"] = os.pathsep.join(x for x in sys.path if x)
    subprocess.run([sys.executable, "-c", RUN, call], env=env, check=True)


class CollectiveError(RuntimeError):
    """A step failed in some process; raised in every one."""


class CollectiveStep:
    """A step that every process takes: if it fails in one, it fails in all, so that none waits for one that is gone.

    ```python
    with CollectiveStep() as collective:
        batch = what_may_fail_in_one_process()
        collective.ready()  # before a collective inside: from here all are known to take part
        gather(batch)
    ```

    A step that is this process's `alone` asks nobody.
    """

    def __init__(self, alone: bool = False):
        """Ask the others where there are any."""
        self.alone = alone or not is_distributed()

    def __enter__(self) -> CollectiveStep:
        """Begin the step."""
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Raise CollectiveError if the step failed in any process; alone, the error is as it was."""
        if self.alone or isinstance(error, CollectiveError):
            return
        if error is None or isinstance(error, Exception):
            self._agree(error)

    def ready(self) -> None:
        """Wait until every process has come so far; raise CollectiveError if one has failed before."""
        if not self.alone:
            self._agree(None)

    @staticmethod
    def _agree(error: Exception | None) -> None:
        """Tell all what happened here, and raise what happened anywhere."""
        said: list[str | None] = [None] * dist.get_world_size()
        dist.all_gather_object(said, None if error is None else reason(error))
        failed = [f"{text} (in process {rank} of {len(said)})" for rank, text in enumerate(said) if text is not None]
        if failed:
            raise CollectiveError(failed[0]) from error
