# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a distilled run tells its user at its start, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ultralytics.utils import LOGGER, RANK

if TYPE_CHECKING:
    from ultralytics.distill.base import BaseDistiller
    from ultralytics.distill.config import Config
    from ultralytics.engine.trainer import BaseTrainer


def log_start(trainer: BaseTrainer, found: Sequence[str]) -> None:
    """Say what a run is about to train, once for all processes; `found` is what `evaluate_teachers` returned."""
    run = trainer.distill
    if RANK in {-1, 0}:
        names = [s.name for s in run.sources]
        text = start_lines(run.step.distiller, run.step.teacher, run.configs[0], names, found, trainer.args.imgsz)
        LOGGER.info(text)


def start_lines(
    distiller: BaseDistiller, teacher: Any, config: Config, names: Sequence[str], found: Sequence[str], imgsz: Any
) -> str:
    """Describe what is about to be trained: the teacher, what is to be won, the loss, and what was skipped."""
    lines = []
    for i, (name, one) in enumerate(zip(names, getattr(teacher, "teachers", [teacher]))):
        reached = found[i] if i < len(found) else ""
        lines += f"teacher {name}, {one.describe()}{',' * bool(reached)}{reached}".splitlines()
    lines.append(formula(distiller, config, imgsz))
    if distiller.skipped:
        lines.append(f"skipped: {'; '.join(distiller.skipped)}")
    return "\n".join(f"{'Distillation:' if not i else '':>13} {x}" for i, x in enumerate(lines))


def formula(distiller: BaseDistiller, config: Config, imgsz: Any) -> str:
    """Return the loss as a sum, and the layer pairs of its feature terms with their shapes at an image size."""
    schedule = config.schedule.text
    weight = "" if schedule == "constant" else f"{schedule} x "
    stop = f", off in the last {config.stop} epochs" if config.stop else ""
    balance = f"{config.balance.text} x " if config.balance else ""
    own = f" + {config.dline:g} x the teacher's own task loss" if config.online else ""
    pairs = []
    for p in distiller.pairs:
        s, t = (shape(*x) for x in zip(p.channels, p.strides, (imgsz, p.imgsz or imgsz)))
        pairs.append(f"{p.name} student layer {p.student} ({s}) <- teacher layer {p.teacher} ({t})")
    maps = f"; feature maps: {', '.join(pairs)}" if pairs else ""
    return f"loss = task + {weight}{balance}({distiller.describe()}){stop}{own}{maps}"


def shape(channels: int, stride: float, size: int | tuple[int, int]) -> str:
    """Return a map's shape as text, `64x80x80`, at an image size in pixels."""
    sides = (size, size) if isinstance(size, int) else size
    return "x".join(str(round(v)) for v in (channels, *(x / stride for x in sides)))
