# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Looks at the teacher before it teaches: its accuracy on the validation set, beside the student's start."""

from __future__ import annotations

import gc
from collections import defaultdict
from copy import deepcopy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from ultralytics.distill.answers.recorded import Recorded
from ultralytics.distill.config import Config
from ultralytics.distill.graph import class_heads
from ultralytics.distill.heads.classes import class_map
from ultralytics.distill.heads.common import outputs
from ultralytics.distill.inference import preserve_random
from ultralytics.distill.runtime.distributed import CollectiveStep
from ultralytics.distill.runtime.errors import reason
from ultralytics.distill.teacher.headroom import MAIN, main_metric, outlook
from ultralytics.distill.teacher.preprocessing import Preprocessing, build_preprocessing
from ultralytics.distill.teacher.source import Source, untrained
from ultralytics.distill.upstream import VALIDATES_EVERYWHERE, no_items
from ultralytics.utils import LOGGER, RANK

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

LIMIT = 256  # images at most
SKIP = "'distill_check=False' skips this look"


def evaluate_teachers(trainer: BaseTrainer) -> list[str]:
    """Measure each teacher, and the student where it has learnt something, on a sample of the validation set.

    A teacher that is not better than the student's start, or no better than chance, is warned about. A resumed run has
    been through this. The look leaves no trace in the run: models, random state and validator are as before. Where it
    fails in one of several processes, all leave it and go on.

    Returns what is to be said of each teacher, the rest of a sentence; nothing of one that was not looked at, and in
    processes but the first.
    """
    run = trainer.distill
    said = [""] * len(run.sources)
    if not run.configs[0].check or trainer.ema is None:  # 8.3 validates in one process
        return said
    student = trainer.ema.ema
    loader, images = sample(trainer.test_loader)
    start: dict[str, float] | None = {} if untrained(student) else None
    with preserve_random(trainer.device):
        for i, (source, config) in enumerate(zip(run.sources, run.configs)):
            if source.module is None or isinstance(source.module, Recorded):  # the student's own average, or a file
                continue
            if already_warned(source.module, student, config):
                continue
            try:
                with CollectiveStep(alone=not VALIDATES_EVERYWHERE) as collective:
                    module = candidate(source, student, config)
                    preprocess = build_preprocessing(config, student, module, trainer.device)
                    found = validate_model(trainer, module, loader, f"teacher {source.name}", collective, preprocess)
                if start is None:
                    with CollectiveStep(alone=not VALIDATES_EVERYWHERE) as collective:
                        start = validate_model(trainer, deepcopy(student), loader, "student's start", collective)
            except Exception as e:  # a look must not stop a run that would do without it
                said[i] = f" is not measured: {reason(e)}"
                continue
            if RANK in {-1, 0}:
                classes, task = len(student.names), trainer.args.task
                said[i] = report(source.name, found, start, classes, images, task, config.online)
    gc.collect()
    return said


def already_warned(teacher: nn.Module, student: nn.Module, config: Config) -> bool:
    """Whether the distiller has already said that a teacher knows none of the student's classes."""
    if config.module or not any(t.kind == "logit" for t in config.terms) or not outputs(teacher.model[-1]):
        return False
    return not class_map(student.names, teacher.names, config.single_cls, config.classes).student


def candidate(source: Source, student: nn.Module, config: Config) -> nn.Module:
    """Return a copy of a teacher that the student's validator can judge; else raise the rest of a sentence."""
    names = [type(m.model[-1]).__name__ for m in (student, source.module)]
    kinds = [outputs(m.model[-1]) or n for m, n in zip((student, source.module), names)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"its {names[1]} head is not what a student with {names[0]} is validated by")
    if config.imgsz is not None and "boxes" in kinds[0]:
        raise ValueError(f"its boxes are those of other images with 'distill_imgsz={config.imgsz}'")
    module = source.fresh().float()
    if "depth" not in kinds[0] and not config.single_cls:
        narrow(module, student.names)
    return module


def narrow(module: Any, names: dict[int, str]) -> None:
    """Reduce a model's head to some classes, in their order; where that cannot be, raise the rest of a sentence."""
    found = class_map(names, module.names)
    if len(found.student) < len(names):
        raise ValueError(f"it knows {len(found.student)} of the student's {len(names)} classes")
    if found.teacher == list(range(len(module.names))):
        return
    head = module.model[-1]
    layers = [m[-1] for levels in class_heads(head).values() for m in levels]
    layers += [head.linear] if hasattr(head, "linear") else []
    layers += [head.classifier[-1]] if hasattr(head, "classifier") else []
    layers += [head.enc_score_head, *head.dec_score_head] if hasattr(head, "dec_score_head") else []
    if not layers or any(len(x.weight) != len(module.names) for x in layers):
        raise ValueError(f"its classes have another order, which {type(head).__name__} does not let change")
    for layer in layers:
        layer.weight.data, layer.bias.data = layer.weight.data[found.teacher], layer.bias.data[found.teacher]
    module.names, module.nc, head.nc = dict(names), len(names), len(names)
    head.no = len(names) + 4 * getattr(head, "reg_max", 0)


def sample(loader: Any) -> tuple[DataLoader, int]:
    """Return a loader of some of a loader's batches, at most `LIMIT` images, and the number of them in all processes.

    Whole batches are taken, evenly spaced, since with `rect` the images of one have one size.
    """
    size, total = loader.batch_size, len(loader.dataset)
    batches = [list(range(i, min(i + size, total))) for i in range(0, total, size)]
    keep = min(len(batches), max(LIMIT // size, 1))
    chosen = [batches[i * len(batches) // keep][:LIMIT] for i in range(keep)]
    images = sum(len(b) for b in chosen)
    if RANK != -1 and VALIDATES_EVERYWHERE:
        chosen = chosen[RANK :: torch.distributed.get_world_size()]
    workers, collate = loader.num_workers, loader.collate_fn
    return DataLoader(loader.dataset, batch_sampler=chosen, num_workers=workers, collate_fn=collate), images


def validate_model(
    trainer: BaseTrainer,
    module: Any,
    loader: DataLoader,
    who: str,
    collective: CollectiveStep,
    preprocess: Preprocessing | None = None,
) -> dict[str, float]:
    """Return upstream's metrics of a model, as the trainer has its student's; nothing in processes but the first."""
    module = module.to(trainer.device)
    predict = module.forward
    module.forward = lambda x, augment=False: predict(x if preprocess is None else preprocess(x))
    items = no_items(trainer.device)
    module.loss = lambda batch, preds=None: (None, items)  # its value would not be used
    validator = trainer.get_validator()
    validator.dataloader, validator.callbacks = loader, defaultdict(list)
    gather_once_all_are_ready(validator, collective)
    validator.get_desc, validator.print_results = lambda: f"Distillation: {who}", lambda: None
    for argument in ("plots", "save_json", "save_txt"):
        setattr(validator.args, argument, False)
    stand_in = SimpleNamespace(
        ema=SimpleNamespace(ema=module), device=trainer.device, data=trainer.data, amp=trainer.amp, loss_items=items,
        stopper=SimpleNamespace(possible_stop=False), epoch=0, epochs=2, world_size=1,
        label_loss_items=lambda loss, prefix: {}, args=trainer.args,
    )  # fmt: skip
    return validator(stand_in) or {}


def gather_once_all_are_ready(validator: Any, collective: CollectiveStep) -> None:
    """Let a validator gather what each process found once no process can fail on its images any more."""
    gather: Any = getattr(validator, "gather_stats", None)
    if gather is None:  # 8.3 validates in one process and has none
        return

    def wait() -> None:
        collective.ready()
        gather()

    validator.gather_stats = wait


def report(
    name: str, found: dict[str, float], start: dict[str, float], classes: int, images: int, task: str, online: bool
) -> str:
    """Return what was found, and warn of a teacher that can teach little."""
    keys = [k for k in found if any(m in k for m in MAIN)]
    shown = [", ".join(f"{k.rpartition('/')[2]} {x[k]:.3f}" for k in keys) for x in (found, start) if x]
    says = f" has {shown[0]} on {images} validation images" + (f"; the student starts at {shown[1]}" if start else "")
    if online:
        return says
    if guesses(found, classes, task):
        LOGGER.warning(f"teacher {name} looks untrained: {shown[0]} is no better than chance; {SKIP}")
        return says
    if start and found["fitness"] <= start["fitness"]:
        LOGGER.warning(f"teacher {name} is not better than the student's start and may hold it back; {SKIP}")
    if key := main_metric(found):
        learnt = start and not guesses(start, classes, task)  # with a new head a pretrained student knows nothing yet
        says += f"\nto win: {outlook(found[key], start[key] if learnt else None)}"
    return says


def guesses(found: dict[str, float], classes: int, task: str) -> bool:
    """Whether a model does no better than one that has learnt nothing."""
    if task == "classify":
        return classes > 1 and found["metrics/accuracy_top1"] < 1.5 / classes
    if task == "semantic":  # the most frequent class everywhere
        return found["metrics/mIoU"] <= 1 / max(classes, 2)
    return found["fitness"] < 0.01
