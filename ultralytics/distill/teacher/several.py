# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Several frozen teachers: what is given for each of them, and all of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from ultralytics.distill.arguments import read
from ultralytics.distill.config import ARGUMENTS, KINDS, Config
from ultralytics.distill.graph import Capture
from ultralytics.distill.spelling import split_list
from ultralytics.distill.teacher.frozen import Teacher
from ultralytics.distill.values import is_auto, plain


@dataclass
class SeveralTeachers:
    """Frozen teachers, in the order of the distillers, that look at a batch one after the other."""

    teachers: Sequence[Teacher]

    def __call__(self, images: Sequence[torch.Tensor]) -> list[Capture]:
        """Return what each teacher sees of its own images."""
        return [t(x) for t, x in zip(self.teachers, images)]

    def describe(self) -> str:
        """Return each teacher's size and precision."""
        return "; ".join(t.describe() for t in self.teachers)


def read_each(args: SimpleNamespace, count: int) -> list[Config]:
    """Read the arguments for several teachers, where gains, layers and their input may be given one for each."""
    vars(args).update({k: plain(v) for k, v in vars(args).items() if k in ARGUMENTS})
    views = [SimpleNamespace(**{**vars(args), **_share(args, i, count)}) for i in range(count)]
    configs = [read(view) for view in views]
    for argument in ("distill_feat", "distill_logit", "distill_rel", "distill_module"):
        setattr(args, argument, getattr(views[0], argument))
    return configs


def _share(args: SimpleNamespace, index: int, count: int) -> dict[str, Any]:
    """Return one teacher's gains, layers and input: its item of a list with one item a teacher, else what all share.

    A list of gains is one a teacher if its items are lists, or if there are as many as teachers but not as terms. A
    list of sizes, means or deviations is one a teacher if its items are lists or none.
    """
    share: dict[str, Any] = {}
    if count == 1:
        return share
    for argument, gain in KINDS.values():
        value = getattr(args, gain)
        items = split_list(value) if isinstance(value, str) else value
        if isinstance(items, (list, tuple)) and len(items) == count:
            terms = getattr(args, argument)
            if any(isinstance(x, (list, tuple)) for x in items) or is_auto(terms) or len(split_list(terms)) != count:
                share[gain] = items[index]
    for argument in ("distill_imgsz", "distill_mean", "distill_std"):
        items = getattr(args, argument)
        if isinstance(items, (list, tuple)) and len(items) == count:
            if all(x is None or isinstance(x, (list, tuple)) for x in items):
                share[argument] = items[index]
    layers = args.distill_layers
    nested = isinstance(layers, (list, tuple)) and len(layers) == count
    if nested and all(isinstance(x, (list, tuple)) and x and isinstance(x[0], (list, tuple)) for x in layers):
        share["distill_layers"] = layers[index]
    return share
