# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Finds the teacher: from a checkpoint, a YAML, a live model, or a module that is no Ultralytics model at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics.distill.answers.file import is_answers
from ultralytics.distill.answers.recorded import Recorded
from ultralytics.distill.inference import PROBE, model_args
from ultralytics.distill.runtime.errors import reason
from ultralytics.distill.runtime.open_model import open_model
from ultralytics.distill.spelling import split_list
from ultralytics.distill.teacher.foreign import Foreign, is_ultralytics, read_module, save_module
from ultralytics.distill.teacher.live import deepcopy_teacher, unpack
from ultralytics.distill.upstream import load_checkpoint, model_file
from ultralytics.utils import LOGGER


@dataclass
class Source:
    """Where the teacher comes from.

    Attributes:
        module (nn.Module | None): The teacher. A live one is its owner's and never changed; one that was loaded becomes
            the frozen teacher, which is fused, cast and moved in place. None for the student's own average.
        path (Path): Its checkpoint, or where it will be saved.
        save (bool): Whether it still has to be saved there.
        live (bool): Whether the user gave an object, which stays theirs.
    """

    module: Any
    path: Path
    save: bool = False
    live: bool = False

    @property
    def name(self) -> str:
        """Return the file's name, for messages."""
        return self.path.name

    def fresh(self) -> nn.Module:
        """Return a copy of the teacher as it was given; its own module may have been changed for speed since."""
        module = deepcopy_teacher(self.module) if self.live else _load(str(self.path))[0]
        return module if is_ultralytics(module) else Foreign(module, self.module.probe_size)

    def write(self) -> None:
        """Save a teacher that was given as an object, once and as it is now, as a checkpoint that upstream loads."""
        if not self.save:
            return
        self.save = False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.module, Foreign):
            save_module(self.module.inner, self.path)
            return
        module = deepcopy_teacher(self.module).float()
        module.criterion = None
        args = {**model_args(module), "model_t": None}
        save_module({"epoch": -1, "model": module.eval(), "train_args": args}, self.path)


def teachers_of(value: Any) -> list:
    """Return the teachers that `model_t` names: none, one, or as many as a list holds; `ema` in any case."""
    if isinstance(value, (list, tuple)):
        return [teacher for item in value for teacher in teachers_of(item)]
    if isinstance(value, (str, Path)):
        text = str(value)
        found = [value] if text.strip() and Path(text).exists() else split_list(text)
        return ["ema" if str(x).lower() == "ema" else x for x in found]
    return [] if value is None or value is False else [value]


def resolve(value: Any, place: Path, size: int | tuple[int, int] = PROBE) -> Source:
    """Find the teacher and load it, before anything is written.

    Args:
        value (Any): `model_t`: a path, a `YOLO`, an `nn.Module`, one of these wrapped, or the word `ema`.
        place (Path): Where an object without a file will be saved.
        size (int | tuple[int, int]): Image size in pixels at which a teacher that is no Ultralytics model is tried.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the file holds no model, the value is something else, or the module yields nothing to learn from.
    """
    if isinstance(value, str) and value == "ema":
        return Source(None, Path("ema"))
    if is_answers(value):
        return Source(Recorded(value), Path(value).resolve())
    module = str(value) if isinstance(value, (str, Path)) else unpack(value)
    if isinstance(module, str):
        source = Source(*_load(module))
    else:
        file = Path(getattr(module, "pt_path", None) or "teacher.pt")
        if file.is_file() and _equals_file(module, file):
            source = Source(module, file.resolve(), live=True)
        else:
            source = Source(module, place, save=True, live=True)
    if not is_ultralytics(source.module):
        source.module = Foreign(source.module, size)
    if untrained(source.module):
        LOGGER.warning(f"'model_t={source.path}' is an untrained teacher: it has random weights and teaches noise.")
    return source


def _load(text: str) -> tuple[nn.Module, Path]:
    """Load a teacher from a checkpoint, or build an untrained one from a YAML."""
    path = model_file(text)
    try:
        if text.endswith((".yaml", ".yml")):
            return open_model(text).model, Path(text)
        if (whole := read_module(path)) is not None:
            return whole, Path(path).resolve()
        module, _ = load_checkpoint(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"'model_t={text}' does not exist; give the path of a trained model (.pt).") from None
    except Exception as e:
        raise ValueError(
            f"'model_t={text}' cannot be read as an Ultralytics checkpoint ({reason(e)}); give a trained model (.pt)."
        ) from e
    return module, Path(getattr(module, "pt_path", path)).resolve()


def _equals_file(module: nn.Module, file: Path) -> bool:
    """Whether a live teacher still holds the weights of the file it came from."""
    try:
        saved = load_checkpoint(file)[0].state_dict()
    except Exception:
        return False
    live = module.state_dict()
    return live.keys() == saved.keys() and all(torch.equal(v.cpu().float(), saved[k].float()) for k, v in live.items())


def untrained(module: nn.Module) -> bool:
    """Whether no BatchNorm has ever seen a batch."""
    norms = (m for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    means = [m.running_mean for m in norms if m.running_mean is not None]
    return bool(means) and not any(m.any() for m in means)  # an EMA, which is what is saved, keeps the counters at 0
