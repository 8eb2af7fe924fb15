# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Training that a launcher such as torchrun started: on CPU with gloo, and over several nodes that share a folder."""

from __future__ import annotations

import inspect
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ultralytics.utils import LOCAL_RANK, RANK

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


def launched_size(size: int) -> int:
    """Return the number of processes: the launcher's word where there is one, else what upstream counted.

    Args:
        size (int): Devices that upstream counted in `device=`; 0 on a CPU.

    Returns:
        (int): Number of processes over all nodes.
    """
    return int(os.getenv("WORLD_SIZE", size)) if LOCAL_RANK != -1 else size


def join_on_cpu(trainer: BaseTrainer) -> bool:
    """Join the launcher's process group with gloo if the trainer runs on a CPU.

    Args:
        trainer (BaseTrainer): The trainer of this process.

    Returns:
        (bool): Whether there is nothing left to set up.
    """
    if trainer.device.type != "cpu":
        return False
    if not dist.is_initialized():  # a second training in the same processes finds its group
        limit = timedelta(seconds=10800)  # as long as upstream waits on GPUs
        dist.init_process_group("gloo", timeout=limit, rank=RANK, world_size=trainer.world_size)
    return True


def wrap_on_cpu(trainer: BaseTrainer) -> bool:
    """Wrap the model in DDP on a CPU, where upstream's own line would ask for a device's number.

    Args:
        trainer (BaseTrainer): A trainer whose model is built.

    Returns:
        (bool): Whether it is wrapped.
    """
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
