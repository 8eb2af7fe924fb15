"""Run by torchrun in test_world.py: what two processes make of two shards, and what one process makes of both."""

import json
import sys
from pathlib import Path

import torch
from conftest import build_model
from torch import distributed as dist
from torch import nn

from ultralytics.cfg import get_cfg
from ultralytics.distill import config as configuration
from ultralytics.distill.composite import Composite
from ultralytics.distill.distiller import Distiller
from ultralytics.distill.online import OnlineTeacher
from ultralytics.distill.teacher import Source, Teacher


def build(case):
    """Build the same composite in every process."""
    student, module = build_model(seed=0), build_model(width=0.25, seed=1, trained=True)
    args = get_cfg(overrides={"model_t": "t.pt", **case})
    config = configuration.read(args)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        distiller = Distiller(config, student, module)
    if config.online:
        teacher = OnlineTeacher(module, distiller.layers[1], distiller.needs_features, config.dline)
    else:
        wants = distiller.layers[1], distiller.needs_head, distiller.needs_features
        teacher = Teacher(Source(module, Path("t.pt"), live=True), *wants, torch.device("cpu"), torch.float32)
    return Composite(student, distiller, teacher).train()


def shard(rank, step, empty):
    """Return one rank's batch of a step; rank 1's may be without objects."""
    g = torch.Generator().manual_seed(10 * step + rank)
    m = 0 if empty and rank == 1 else 2
    return {
        "img": torch.rand(2, 3, 64, 64, generator=g),
        "cls": torch.randint(0, 3, (m, 1), generator=g).float(),
        "bboxes": 0.3 + 0.4 * torch.rand(m, 4, generator=g),
        "batch_idx": torch.arange(m).float(),
    }


def gradients(module):
    """Return every gradient by name."""
    return {n: p.grad for n, p in module.named_parameters() if p.grad is not None}


def main(case, empty, steps):
    """Compare gradients; print the largest relative difference over all parameters on rank 0."""
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    composite = build(case)
    wrapped = nn.parallel.DistributedDataParallel(composite, find_unused_parameters=True, broadcast_buffers=False)
    for step in range(steps):  # accumulation: the reducer runs at every backward
        (wrapped(shard(rank, step, empty))[0].sum() * world).backward()
    if rank == 0:
        alone = build(case)
        for step in range(steps):
            sum(alone(shard(r, step, empty))[0].sum() for r in range(world)).backward()
        ours, reference = gradients(composite), gradients(alone)
        assert ours.keys() == reference.keys(), ours.keys() ^ reference.keys()
        scale = {n: max(g.abs().max().item(), 1e-3) for n, g in reference.items()}
        worst = max((ours[n] - g).abs().max().item() / scale[n] for n, g in reference.items())
        parts = {n.split(".")[0] for n, g in reference.items() if g.abs().sum() > 0}
        print(json.dumps({"worst": worst, "parts": sorted(parts), "count": len(ours)}), flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True, warn_only=True)
    main(*json.loads(sys.argv[1]))
