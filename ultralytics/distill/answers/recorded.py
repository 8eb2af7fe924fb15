# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A teacher that is a file of answers: it has classes and boxes, and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ultralytics.distill.answers.file import read_answers, sha256
from ultralytics.distill.config import KINDS, Config
from ultralytics.distill.graph import Capture
from ultralytics.utils import LOGGER


class Answers(nn.Module):
    """A layer of a file, which yields nothing: its answers are in the batch."""

    def __init__(self, index: int):
        """Keep its place in the graph."""
        super().__init__()
        self.i, self.f = index, -1

    def forward(self, x: Any) -> None:
        """Return nothing."""


class Recorded(nn.Module):
    """A file of answers in the form of an Ultralytics model, so that it stands wherever a teacher does.

    Args:
        path (str | Path): The file.

    Attributes:
        table (Table): What the file holds.
        names (dict[int, str]): Its classes; empty where it has numbers alone, until `name_classes`.
        sha256 (str): What the file's bytes are told by.
        files (dict[int, str]): For each image of the table the file that it was found to be.
    """

    probe_size = (32, 32)
    channels = 3

    def __init__(self, path: str | Path):
        """Read the file."""
        super().__init__()
        self.path, self.table = Path(path), read_answers(path)
        self.names, self.stride = dict(self.table.names), torch.ones(1)
        self.save: list[int] = []
        self.model = nn.Sequential(Answers(0), Answers(1))
        self.sha256 = sha256(self.path)
        self.files: dict[int, str] = {}

    def forward(self, x: torch.Tensor) -> None:
        """Return nothing."""

    def name_classes(self, names: dict[int, str]) -> None:
        """Give a list of COCO results, which has numbers alone, the data's classes; raise where there is doubt."""
        if self.names:
            return
        ids = set(np.unique(self.table.cls).tolist())
        count, low, high = len(names), min(ids), max(ids)
        eighty = _coco_ids(names)
        if eighty and high > count and ids <= set(eighty):
            self.names = {i: names[k] for k, i in enumerate(eighty)}
        elif low == 0 and high < count:
            self.names = dict(names)
        elif low > 0 and high == count:
            self.names = {k + 1: v for k, v in names.items()}
        else:
            raise ValueError(
                f"'model_t={self.path}' has category ids {low} to {high} without names, which do not tell which of the "
                f"data's {count} classes they are; put the list under 'annotations' beside 'images' and 'categories' "
                f"with their names, as COCO's data sets have them."
            )
        LOGGER.info(f"Distillation: {self.path.name} has no class names; its ids {low} to {high} are taken in order.")


def _coco_ids(names: dict[int, str]) -> list[int]:
    """Return COCO's own ids of the data's classes, if these are COCO's 80, else nothing."""
    if len(names) != 80 or names.get(0) != "person" or names.get(79) != "toothbrush":
        return []
    from ultralytics.data.converter import coco80_to_coco91_class

    return coco80_to_coco91_class()


@dataclass
class RecordedTeacher:
    """What a file is in a training step: it looks at no image."""

    recorded: Recorded

    def __call__(self, images: torch.Tensor) -> Capture:
        """Return that nothing was seen."""
        return Capture()

    def describe(self) -> str:
        """Return what the file holds, in a few words."""
        table = self.recorded.table
        by = " and ".join(str(t.get("file", "a model")) for t in table.told.get("teachers", []))
        return f"answers{' of ' + by if by else ''}: {len(table.boxes)} boxes of {len(table.images)} images, no model"


def require_final_terms(configs: Sequence[Config], sources: Sequence[Any]) -> None:
    """Raise unless what a user asks of a file of answers is in it.

    Beside other teachers it is for these, and taken out of the file's own arguments.

    Args:
        configs (Sequence[Config]): The arguments for each teacher.
        sources (Sequence[Source]): The teachers.
    """
    files = [(c, s.path) for c, s in zip(configs, sources) if isinstance(s.module, Recorded)]
    if not files:
        return
    config, path = files[0]
    if len(files) > 1:
        raise ValueError(
            f"'model_t' names several files of answers, {path.name} and {files[1][1].name}; let "
            f"'python distill.py answers model_t=[a.pt,b.pt]' write one of all teachers."
        )
    named = [t for t in config.terms if not t.auto and t.kind != "logit"]
    given = {"distill_module": config.module and config.module.text}
    if len(sources) == 1:
        given.update({f"distill_{k}": getattr(config, k) for k in ("online", "imgsz", "mean", "std")})
        given.update({f"distill_{k}": v for k in ("layers", "precision") if (v := getattr(config, k)) != "auto"})
    if wrong := [f"'{k}={v}'" for k, v in given.items() if v]:
        raise ValueError(f"{wrong[0]} needs a model, 'model_t={path}' is a file of its answers; leave it out.")
    if named and len(sources) == 1:
        raise ValueError(
            f"'{KINDS[named[0].kind].argument}={named[0].spelled.text}' compares what a model shows on the way, "
            f"'model_t={path}' holds final boxes; leave it at auto, or give the model."
        )
    config.imgsz = config.mean = config.std = None
    config.terms = [t for t in config.terms if t not in named]
    if not any(t.kind == "logit" for t in config.terms):
        raise ValueError(
            f"'distill_logit=none' leaves 'model_t={path}' nothing to teach by, which holds final boxes; leave it at "
            f"auto."
        )
