# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Small inputs for any loss by name, and losses that nobody here wrote."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ultralytics.distill.losses import FEATURE, RELATION, RESPONSE

SHAPES = [(4, 3), (2, 2), (1, 1)]  # three levels, 17 anchors
A = sum(h * w for h, w in SHAPES)
NUMBERS = ("scores", "boxes", "mask_coefficient", "proto", "keypoints", "angle", "log_depth")  # what a head predicts
MOVED = {
    "ld": ["boxes"],
    "giou": ["boxes"],
    "l1": ["boxes"],
    "mse": ["scores", "boxes"],
    "mask": ["mask_coefficient", "proto"],
}
CROSS = ("crosskd", "crossld", "crossgiou")  # these move the student's features
MOVED |= {"pose": ["keypoints"], "probiou": ["boxes", "angle"], "depth": ["log_depth"]}


@dataclass
class Case:
    """A loss with inputs that suit it."""

    loss: nn.Module
    student: Any
    teacher: Any
    batch: dict[str, Any]

    def __call__(self) -> torch.Tensor:
        """Return the loss's value."""
        return self.loss(self.student, self.teacher, self.batch)

    def leaves(self, side: str = "student") -> list[torch.Tensor]:
        """Return the tensors of one side that the loss may read."""
        x = getattr(self, side)
        if isinstance(x, torch.Tensor):
            return [x]
        return [v for k in (*NUMBERS, "head") if k in x for v in (x[k] if k == "head" else [x[k]])]

    def wanted(self) -> list[torch.Tensor]:
        """Return the student's tensors that the loss has to move."""
        moved = MOVED.get(self.loss.label, ["scores"])
        if isinstance(self.student, torch.Tensor):
            return [self.student]
        return self.student["head"] if "head" in self.student else [self.student[k] for k in moved if k in self.student]

    def map(self, fn: Callable[[torch.Tensor], torch.Tensor], sides: tuple[str, ...] = ("student", "teacher")) -> Case:
        """Return the case with `fn` done to the maps and predictions of the given sides."""
        done = {}
        for side in sides:
            x = getattr(self, side)
            if isinstance(x, torch.Tensor):
                done[side] = fn(x)
            else:
                done[side] = {k: fn(v) if k in NUMBERS else v for k, v in x.items()}
                if "head" in x:
                    done[side]["head"] = [fn(v) for v in x["head"]]
        return Case(**{**self.__dict__, **done})

    def image(self, i: int) -> Case:
        """Return the case of one image of the batch."""

        def pick(x):
            if isinstance(x, dict):
                return {k: [v[i : i + 1] for v in y] if k == "head" else pick(y) for k, y in x.items()}
            return x[i : i + 1] if isinstance(x, torch.Tensor) else x

        mine = self.batch["batch_idx"] == i
        batch = {k: v[i : i + 1] for k, v in self.batch.items() if k in {"cls", "teacher_scores"}}
        batch |= {"bboxes": self.batch["bboxes"][mine], "batch_idx": torch.zeros(int(mine.sum()))}
        return Case(self.loss, pick(self.student), pick(self.teacher), batch)


def make(
    name: str,
    n: int = 3,
    size: tuple[int, int] = (3, 5),
    nc: int = 3,
    dtype: torch.dtype = torch.float64,
    equal: bool = False,
    objects: bool = True,
    seed: int = 0,
    wide: int = 1,
    **params: Any,
) -> Case:
    """Build a loss and inputs for it.

    Args:
        name (str): Name in one of the three dicts.
        n (int): Images.
        size (tuple[int, int]): Height and width of maps.
        nc (int): Classes.
        dtype (torch.dtype): Of everything.
        equal (bool): Student and teacher are the same, and layers of the loss's own change nothing.
        objects (bool): The batch has boxes.
        seed (int): Of the inputs.
        wide (int): Times more channels and bins.
        **params (Any): Of the loss's constructor.

    Returns:
        (Case): Loss and inputs.
    """
    g = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    torch.manual_seed(seed)
    if name in RESPONSE:
        loss, batch = RESPONSE[name](**params), {}
        student, teacher = predictions(rand, n, nc, equal, 4 * wide, name, size)
    else:
        ct = 4 * wide
        cs = ct if equal or name in {"cwd", "mgd", "mimic", "cosine", "pkd", "fgd", "gram"} else 3 * wide
        if params.get("over") == "channel":
            cs = ct
        cls = {**FEATURE, **RELATION}[name]
        widths = {"mgd": {"channels_t": ct}, "fgd": {"channels_t": ct}}
        widths |= dict.fromkeys(("sl2", "crd"), {"channels_s": cs, "channels_t": ct})
        loss = cls(**widths.get(name, {}), **params)
        student, teacher = rand(n, cs, *size), rand(n, ct, *size)
        if equal:  # above zero, so that a ReLU in the loss's own layers changes nothing
            teacher = teacher.abs()
            student = teacher.clone()
        batch = {"teacher_scores": rand(n, nc, *size)}
        if name == "mgd":
            hidden = torch.ones(1, 1, *size) if equal else (rand(1, 1, *size) > -0.5)
            loss.mask = lambda teacher: hidden.to(teacher)
    loss = loss.to(dtype)
    for layer in (m for m in loss.modules() if isinstance(m, nn.Conv2d) and equal and name in {"mgd", "sl2"}):
        nn.init.dirac_(layer.weight)
        nn.init.zeros_(layer.bias)
    m = 3 if objects else 0  # boxes; none ends on the edge of a cell, where rounding decides
    batch["bboxes"] = torch.tensor([[0.5, 0.4, 0.61, 0.53], [0.2, 0.3, 0.31, 0.23], [0.7, 0.7, 0.43, 0.57]])[:m]
    batch |= {"batch_idx": torch.tensor([0.0, 0.0, n - 1.0])[:m], "cls": torch.arange(n) % nc}
    return Case(loss, student, teacher, batch)


def predictions(
    rand: Callable, n: int, nc: int, equal: bool, bins: int, name: str, size: tuple[int, int]
) -> tuple[dict, dict]:
    """Return two models' raw predictions: of a detector with what its task adds, or as dense as the loss wants them."""
    flat = {"kl": (nc,), "dist": (nc,), "cwdmap": (nc, *size), "depth": (1, *size)}.get(name)
    if flat is not None:
        key = "log_depth" if name == "depth" else "scores"
        student, teacher = {key: rand(n, *flat)}, {key: rand(n, *flat)}
        student = {key: teacher[key].clone()} if equal else student
        return {**student, "target_scores": torch.eye(nc)[torch.arange(n) % nc].to(rand(1))}, teacher
    student, teacher = (
        {"scores": rand(n, nc, A), "boxes": rand(n, 4 * bins, A), "shapes": SHAPES, "strides": [8.0, 16.0, 32.0]}
        for _ in range(2)
    )
    more = {"mask": {"mask_coefficient": (4 * bins, A), "proto": (4 * bins, 8, 6)}, "probiou": {"angle": (1, A)},
            "pose": {"keypoints": (5, 3, A)}}.get(name, {})  # fmt: skip
    for side in (student, teacher):
        side.update({k: rand(n, *shape) for k, shape in more.items()})
    if name in CROSS:
        student["head"], teacher["head"] = ([rand(n, 4, h, w) for h, w in SHAPES] for _ in range(2))
        key, c = ("scores", nc) if name == "crosskd" else ("boxes", 4 * bins)
        tail = [nn.Sequential(nn.SiLU(), nn.Conv2d(4, c, 1)).to(rand(1)).requires_grad_(False) for _ in SHAPES]
        teacher["tail"] = tail
        teacher[key] = torch.cat([m(x).flatten(2) for m, x in zip(tail, teacher["head"])], 2)
    if equal:
        student = {k: [x.clone() for x in v] if k == "head" else v for k, v in teacher.items() if k != "tail"}
        student |= {k: v.clone() for k, v in student.items() if isinstance(v, torch.Tensor)}
    student["target_scores"] = rand(n, nc, A).sigmoid()
    student["fg_mask"] = rand(n, A) > 0.5
    return student, teacher


@pytest.fixture(scope="session")
def case() -> Callable[..., Case]:
    """Return the builder of cases."""
    return make


HOW = "not installed: pip install --no-deps -r tests/oracles.txt"


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], types.ModuleType]:
    """Return a loader of another distillation library's module, given as the path of its file.

    Libraries that import as they are, do. Of mmrazor and mmdet `oracle("mmrazor/models/losses/cwd.py")` runs the one
    installed file: the packages around it, which need compiled extensions, are empty stand-ins, and their registries'
    decorators do nothing.
    """

    def load(path: str) -> types.ModuleType:
        root, *inner = path.removesuffix(".py").split("/")
        if root not in {"mmrazor", "mmdet"}:
            return pytest.importorskip(".".join((root, *inner)), reason=f"{root} is {HOW}", exc_type=ImportError)
        spec = importlib.util.find_spec(root)
        if spec is None:
            pytest.skip(f"{root} is {HOW}")
        folder = Path(next(iter(spec.submodule_search_locations)))
        stands = {root: types.ModuleType(root), f"{root}.registry": types.ModuleType("registry")}
        stands[f"{root}.registry"].MODELS = types.SimpleNamespace(register_module=lambda *a, **k: lambda c: c)
        for i in range(1, len(inner)):
            stands[".".join((root, *inner[:i]))] = package = types.ModuleType(inner[i - 1])
            package.__path__ = [str(folder.joinpath(*inner[:i]))]
        with pytest.MonkeyPatch.context() as patch:
            for name, module in stands.items():
                patch.setitem(sys.modules, name, module)
            before = set(sys.modules)
            try:
                return importlib.import_module(".".join((root, *inner)))
            finally:
                for name in set(sys.modules) - before:
                    if name.split(".")[0] == root:
                        del sys.modules[name]

    return load
