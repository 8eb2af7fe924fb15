"""Run by torchrun in test_distributed.py: what two processes make of two shards, and what one process makes of both."""

import json
import sys
from pathlib import Path

import torch
from lines import learners
from small_models import build_model
from torch import distributed as dist
from torch import nn

from ultralytics.cfg import get_cfg
from ultralytics.distill import arguments as configuration
from ultralytics.distill.balance import Balance, Ratio
from ultralytics.distill.distiller import Distiller
from ultralytics.distill.runtime.distributed import CollectiveError, CollectiveStep
from ultralytics.distill.teacher.frozen import Teacher
from ultralytics.distill.teacher.online import OnlineTeacher
from ultralytics.distill.teacher.source import Source
from ultralytics.distill.terms.margin import BoxMargin
from ultralytics.distill.training.optimizer import average_gradients
from ultralytics.distill.training.step import Step


def build(case):
    """Build the same step in every process."""
    student, module = build_model(seed=0), build_model(width=0.25, seed=1, trained=True)
    args = get_cfg(overrides={"model_t": "t.pt", **case})
    config = configuration.read(args)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        distiller = Distiller(config, student, module)
    distiller.margins.clear()  # both would weigh by both shards, the one process of the oracle by each alone
    if config.online:
        teacher = OnlineTeacher(module, distiller.layers[1], distiller.needs_features, config.dline)
    else:
        wants = distiller.layers[1], distiller.needs_head, distiller.needs_features
        teacher = Teacher(Source(module, Path("t.pt"), live=True), *wants, torch.device("cpu"), torch.float32)
    rule = config.balance and config.balance.cls(**config.balance.params)
    return Step(student.train(), distiller, teacher, rule)


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


def gradients(step):
    """Return every gradient by name."""
    return {n: p.grad for n, p in learners(step).named_parameters() if p.grad is not None}


def join(shards):
    """Return the shards as one batch."""
    images = [len(s["img"]) for s in shards]
    joined = {k: torch.cat([s[k] for s in shards]) for k in ("img", "cls", "bboxes")}
    offsets = [sum(images[:i]) for i in range(len(shards))]
    return {**joined, "batch_idx": torch.cat([s["batch_idx"] + o for s, o in zip(shards, offsets)])}


def terms_only(step, wrapped, batch):
    """Return the distillation entries of the loss, with BatchNorms that look at their running statistics."""
    for m in learners(step).modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eval()
    return take(step, wrapped, batch)[-len(step.columns) :].sum()


def take(step, wrapped, batch):
    """Return the loss vector of a step through DDP, as the training loop takes it."""
    step.arm()
    return wrapped(batch)[0]


def probe(name, case, empty, steps, joined=False):
    """Compare gradients; print the largest relative difference over all parameters on rank 0.

    Upstream normalises the task loss per rank, so the oracle adds the shards' losses; for terms that are means over
    images one process on the joined batch is an oracle too.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    step = build(case)
    wrapped = nn.parallel.DistributedDataParallel(step.student, find_unused_parameters=True, broadcast_buffers=False)
    for i in range(steps):  # accumulation: the reducer runs at every backward
        mine = shard(rank, i, empty)
        loss = terms_only(step, wrapped, mine) if joined else take(step, wrapped, mine).sum()
        (loss * world).backward()
    for part, module in learners(step).items():
        if part != "student" and (own := [p for p in module.parameters() if p.requires_grad]):
            average_gradients(own)
    if rank == 0:
        alone = build({k: v for k, v in case.items() if k != "distill_balance"})
        alone.weight = 1.0 if step.balance.shown is None else float(step.balance.shown)  # both ranks' factor
        for i in range(steps):
            shards = [shard(r, i, empty) for r in range(world)]
            loss = terms_only(alone, alone.student, join(shards)) if joined else sum(alone(s)[0].sum() for s in shards)
            loss.backward()
        ours, reference = gradients(step), gradients(alone)
        assert ours.keys() == reference.keys(), ours.keys() ^ reference.keys()
        scale = {n: max(g.abs().max().item(), 1e-3) for n, g in reference.items()}
        worst = max((ours[n] - g).abs().max().item() / scale[n] for n, g in reference.items())
        parts = {n.split(".")[0] for n, g in reference.items() if g.abs().sum() > 0}
        print(json.dumps({"case": name, "worst": worst, "parts": sorted(parts), "count": len(ours)}), flush=True)
    dist.barrier()


def gathered(value):
    """Return what every process has."""
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def shown(share, labels=True):
    """Return a branch of one anchor whose box is its label, 32 pixels wide, drawn in to a share of each side."""
    point, side = torch.tensor([[[16.0], [16.0]]]), torch.tensor([2.0, 2.0, 2.0, 2.0])
    box = torch.cat([side[:2], 4 * share - side[:2]])[None, :, None]
    label = torch.tensor([0.0, 0.0, 32.0, 32.0])[None, :, None]
    found = {"scores": torch.zeros(1, 1, 1), "boxes": box, "shapes": [(1, 1)], "strides": [8.0], "points": point}
    targets = {"target_scores": torch.full((1, 1, 1), float(labels)), "target_boxes": label}
    return {**found, **targets, "by_boxes": True, "most_labels": 1, "assign": lambda *predicted: targets}


def probe_margin():
    """Look at unlike batches in each process, then at one without labels; then resume from rank 0's state."""
    rank, found = dist.get_rank(), {}
    both, empty = BoxMargin(), BoxMargin()
    both.look(shown(1.0 if rank else 0.5), shown(1.0))
    empty.look(shown(0.5, labels=rank == 0), shown(1.0))
    found["both"], found["one empty"] = gathered(both.ahead.item()), gathered(empty.ahead.item())
    found["weights"] = gathered(both.weight(0.5).item())
    saved = [both.state_dict()]
    dist.broadcast_object_list(saved, src=0)
    resumed = BoxMargin()
    resumed.load_state_dict(saved[0])
    resumed.look(shown(0.9 if rank else 0.7), shown(1.0))
    found["resumed"] = gathered(resumed.weight(0.5).item())
    if rank == 0:
        print(json.dumps({"case": "margin", **found}), flush=True)


def probe_balance():
    """Balance unlike losses in each process; then resume from rank 0's state and look at unlike ones again."""
    rank, found = dist.get_rank(), {}
    balance = Balance(Ratio(share=0.5))

    def factor(balance, task, terms):
        return balance(torch.tensor(task[rank]), torch.tensor(terms[rank])).item()

    found["factors"] = gathered(factor(balance, (2.0, 6.0), (3.0, 1.0)))
    saved = [balance.state()]
    dist.broadcast_object_list(saved, src=0)
    resumed = Balance(Ratio(share=0.5))
    resumed.load_state(saved[0], torch.device("cpu"))
    found["goes on"] = gathered(factor(balance, (9.0, 1.0), (1.0, 3.0)))
    found["resumed"] = gathered(factor(resumed, (9.0, 1.0), (1.0, 3.0)))
    if rank == 0:
        print(json.dumps({"case": "balance", **found}), flush=True)


def take_step(fails, alone=True):
    """Take a step with a collective inside that fails in rank 1, or in both; return what came of it."""
    rank, total = dist.get_rank(), torch.ones(()) * (dist.get_rank() + 1)
    mine = fails if rank == 1 or not alone else None
    try:
        with CollectiveStep() as collective:
            if mine in ("before", "ready"):
                raise OSError(mine)
            collective.ready()
            dist.all_reduce(total)
            if mine == "after":
                raise OSError(mine)
        return int(total)
    except CollectiveError as e:
        return str(e)


def probe_together():
    """Let steps fail in one process or in both."""
    found = {k: take_step(k) for k in ("none", "before", "after")}
    found["both"], found["again"] = take_step("ready", alone=False), take_step("none")
    found = {k: gathered(v) for k, v in found.items()}
    if dist.get_rank() == 0:
        print(json.dumps({"case": "together", **found}), flush=True)


def main(cases):
    """Probe one case after the other."""
    dist.init_process_group("gloo")
    probe_margin()
    probe_balance()
    probe_together()
    for name, case in cases.items():
        probe(name, *case)
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True, warn_only=True)
    main(*json.loads(sys.argv[1]))
