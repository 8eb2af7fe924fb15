# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a distilled run tells its user: the formula in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultralytics.distill.base import BaseDistiller
    from ultralytics.distill.config import Config
    from ultralytics.distill.teacher.frozen import Teacher
    from ultralytics.distill.teacher.online import OnlineTeacher


def formula(distiller: BaseDistiller, teacher: Teacher | OnlineTeacher, config: Config, names: str, imgsz: int) -> str:
    """Describe what is about to be trained.

    Args:
        distiller (BaseDistiller): The built terms.
        teacher (Teacher | OnlineTeacher): The teacher, frozen or learning.
        config (Config): Schedule and stop.
        names (str): The teacher's file name, or those of several.
        imgsz (int): Image size in pixels, for the shapes of the maps.

    Returns:
        (str): The teacher, the loss's formula, and the layer pairs with their shapes at that image size.
    """
    lines = [f"teacher {names}, {teacher.describe()}"]
    schedule = config.schedule.text
    weight = "" if schedule == "constant" else f"{schedule} x "
    stop = f", off in the last {config.stop} epochs" if config.stop else ""
    balance = f"{config.balance.text} x " if config.balance else ""
    own = f" + {config.dline:g} x the teacher's own task loss" if config.online else ""
    lines.append(f"loss = task + {weight}{balance}({distiller.describe()}){stop}{own}")
    for p in distiller.pairs:
        s, t = (shape(*x) for x in zip(p.channels, p.strides, (imgsz, p.imgsz or imgsz)))
        lines.append(f"{p.name}: student layer {p.student} ({s}) <- teacher layer {p.teacher} ({t})")
    size = sum(p.numel() for p in distiller.parameters())
    lines.append(f"{size:,} parameters of the distiller's own are trained along and left out of the checkpoint's model")
    return "\n".join(f"{'Distillation:' if not i else '':>13} {x}" for i, x in enumerate(lines))


def shape(channels: int, stride: float, size: int | tuple[int, int]) -> str:
    """Return a map's shape as text, `64x80x80`, at an image size in pixels."""
    sides = (size, size) if isinstance(size, int) else size
    return "x".join(str(round(v)) for v in (channels, *(x / stride for x in sides)))
