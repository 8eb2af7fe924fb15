"""Check (i): two processes on one device with gloo, and NCCL alone."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from benchmarking.ways import Way, make_batch
from gpu_checks.stage import Stage, build, need
from gpu_checks.worker import launch
from ultralytics.distill.upstream import unwrap_model


def several(stage: Stage) -> tuple[str, dict[str, Any]]:
    """(i) Train with two ranks, whose weights must be equal, and compare a step under NCCL with one without."""
    notes = stage.folder / "notes"
    notes.mkdir(exist_ok=True)
    arguments = stage.arguments("i", 3 if stage.small else 10, distill_feat="[cwd,mgd]", distill_check=True)
    done = launch(str(stage.folder / "student.yaml"), arguments, ranks=2, notes=str(notes))
    need(done == 0, f"two ranks ended with code {done}")
    said = [json.loads((notes / f"{rank}.json").read_text()) for rank in (0, 1)]
    need(said[0] == said[1], f"the ranks hold unlike weights: {said}")
    row = stage.rows("i")[-1]
    need(row["train/dfea_loss"] > 0, f"no term: {row}")
    text = f"two gloo ranks end with equal weights, dfea {row['train/dfea_loss']:.3g}"
    if not stage.cuda:
        return f"{text}; NCCL needs a GPU", {"row": row}
    apart = _under_nccl(stage)
    need(apart <= 1e-3, f"{text}; under NCCL the gradient is {apart:.2e} apart")
    return f"{text}; under NCCL the gradient is {apart:.1e} apart", {"row": row, "nccl": apart}


def _under_nccl(stage: Stage) -> float:
    """Return how far gradients under DDP with NCCL are from those without, relatively."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    store = (stage.folder / "store").resolve().as_uri()
    dist.init_process_group("nccl", init_method=store, rank=0, world_size=1)
    found = []
    options = stage.options(imgsz=320, terms={"distill_feat": "cwd"})
    for wrapped in (False, True):
        torch.manual_seed(0)
        way = Way("ours", build(str(stage.folder / "student.yaml")), stage.folder / "teacher.pt", options)
        if wrapped:
            way.model = nn.parallel.DistributedDataParallel(way.model, device_ids=[0], find_unused_parameters=True)
        way.losses(make_batch(6, options)).sum().backward()
        student = unwrap_model(way.model)
        found.append(torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]))
    dist.destroy_process_group()
    return ((found[1] - found[0]).norm() / found[0].norm()).item()
