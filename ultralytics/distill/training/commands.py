# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Arguments of runs that upstream starts as commands of their own: for `tune`, and for a list of data sets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ultralytics.distill.config import ARGUMENTS
from ultralytics.distill.spelling import accept_old_names
from ultralytics.distill.teacher.foreign import is_ultralytics
from ultralytics.distill.teacher.several import read_each
from ultralytics.distill.teacher.source import resolve, teachers_of
from ultralytics.distill.values import longer_side
from ultralytics.utils import DEFAULT_CFG_DICT


def spell_out(args: dict[str, Any]) -> dict[str, Any]:
    """Return arguments that can be written as `name=value`: a teacher by its path, a class by its name.

    What is wrong with them is found here, once: each of the commands would end with it, and upstream goes on. A live
    teacher must have a file that equals it.
    """
    plain = accept_old_names(dict(args))
    given = teachers_of(plain.get("model_t"))
    if not given:
        return args
    full = SimpleNamespace(**{**DEFAULT_CFG_DICT, **plain})
    configs = read_each(full, len(given))
    side = longer_side(full.imgsz)
    paths = [_path(teacher, config.imgsz or side) for teacher, config in zip(given, configs)]
    ours = {k: getattr(full, k) for k in ARGUMENTS}
    return {**plain, **ours, "model_t": paths if len(paths) > 1 else paths[0]}


def _path(teacher: Any, size: int | tuple[int, int]) -> str:
    """Return the file of a teacher."""
    from ultralytics.engine.model import Model

    source = resolve(teacher, Path("teacher.pt"), size)
    if source.save:
        how = "teacher.save('teacher.pt')" if isinstance(teacher, Model) else "torch.save(teacher, 'teacher.pt')"
        if not isinstance(teacher, Model) and is_ultralytics(teacher):
            how = "torch.save({'model': teacher}, 'teacher.pt')"
        raise ValueError(
            f"'model_t' is a {type(teacher).__name__} that no file holds as it is now, and each of these runs is a "
            f"command of its own; save it with {how}, and give the path."
        )
    return str(source.path)
