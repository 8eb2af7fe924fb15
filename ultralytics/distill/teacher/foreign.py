# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A teacher that is no Ultralytics model: any module that takes images and returns maps, class logits or both."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics.distill.answers.foreign import Detections, Detector, class_names, is_detections
from ultralytics.distill.graph import run_layers
from ultralytics.distill.inference import PROBE, eval_mode
from ultralytics.distill.runtime.checkpoints import save_whole
from ultralytics.distill.runtime.errors import reason
from ultralytics.distill.teacher.live import name_of
from ultralytics.distill.upstream import SAFE_LOAD, torch_load
from ultralytics.utils import LOGGER


class Foreign(nn.Module):
    """A module in the form of an Ultralytics model, so that layers are probed, paired and replayed as in any other.

    Layer 0 is the module itself, layers 1, 2, ... are the maps that it returns, in its order, and the last is a head
    that returns the class logits, if there are any. A detector is a layer and a head that returns its boxes.

    Args:
        module (nn.Module): Takes images (N, C, H, W) and returns a map (N, C, H, W), logits (N, classes), or several of
            them in lists, tuples or dicts; or for each image a dictionary with `boxes`, `scores` and `labels`.
        size (int | tuple[int, int]): Image size at which it can be tried, in pixels.

    Attributes:
        channels (int): Channels it takes: those of its first convolution, else 3, 1, or those of another convolution.
        probe_size (tuple[int, int]): Height and width at which it was tried.
        names (dict[int, str]): The module's own class names, or numbers.
        stride (torch.Tensor): Pixels a cell of each map, where these are whole numbers.

    Raises:
        ValueError: If it cannot take such images, or returns neither maps nor logits.
    """

    def __init__(self, module: nn.Module, size: int | tuple[int, int] = PROBE):
        """Try the module and lay out its outputs as layers."""
        super().__init__()
        self.probe_size = (size, size) if isinstance(size, int) else tuple(size)
        self.channels, found = self._try(module)
        if is_detections(found):
            self._lay_out([Detector(module), Detections(found)], [-1, -1])
            self.names, self.stride = class_names(module, name_of(module)), torch.ones(1)
            return
        outputs = list(tensors(found))
        maps = [i for i, x in enumerate(outputs) if x.ndim == 4]
        logits = [i for i, x in enumerate(outputs) if x.ndim == 2]
        if not maps and len(logits) != 1:
            raise ValueError(
                f"'model_t' is a {name_of(module)}, which returns tensors of shapes "
                f"{[tuple(x.shape) for x in outputs]}; a teacher returns maps (N, C, H, W), class logits, or both, or "
                f"for each image a dictionary of boxes, scores and labels."
            )
        layers = [Outputs(module), *(Pick(i) for i in maps), Classify(logits[0]) if len(logits) == 1 else Maps()]
        self._lay_out(layers, [-1, *[0] * len(maps), [*range(1, len(maps) + 1), 0]])
        classes = outputs[logits[0]].shape[1] if len(logits) == 1 else 0
        named = getattr(module, "names", None)
        self.names = named if isinstance(named, dict) else {i: str(i) for i in range(classes)}
        strides = [self.probe_size[0] / outputs[i].shape[2] for i in maps]
        self.stride = torch.tensor([v for v in strides if v % 1 == 0] or [1.0])

    def _lay_out(self, layers: Sequence[nn.Module], sources: Sequence[Any]) -> None:
        """Make layers of what the module is and returns, each with the layers that it draws on."""
        for i, (layer, source) in enumerate(zip(layers, sources)):
            vars(layer).update(i=i, f=source)
        self.model, self.save = nn.Sequential(*layers), list(range(len(layers) - 1))

    def forward(self, x: torch.Tensor) -> Any:
        """Return the class logits, if the module has any, or its boxes."""
        return run_layers(self, x, [], head=True).output

    def fuse(self, verbose: bool = False) -> Foreign:
        """Return itself: what may be folded in a module of unknown form is not known."""
        return self

    @property
    def inner(self) -> nn.Module:
        """The module as it was given."""
        return self.model[0].module

    def _try(self, module: nn.Module) -> tuple[int, Any]:
        """Return the channels that a module takes, and what it makes of a blank image.

        Modes and the random state are as before. The convolution that was registered first need not be the one that
        runs first, and may see more channels than the image has.
        """
        weight = next(iter(module.parameters()), torch.zeros(1))
        seen = [m.in_channels for m in module.modules() if isinstance(m, nn.Conv2d)]
        seen = seen or [p.shape[1] for p in module.parameters() if p.ndim == 4]  # a traced module names no layers
        said = ""
        for channels in dict.fromkeys([*seen[:1], 3, 1, *seen]):
            blank = torch.zeros(1, channels, *self.probe_size, device=weight.device, dtype=weight.dtype)
            try:
                with eval_mode(module, weight.device):
                    return channels, module(blank)
            except Exception as e:
                said = said or f"{'x'.join(map(str, blank.shape[1:]))} ({reason(e)})"
        raise ValueError(
            f"'model_t' is a {name_of(module)}, which cannot take images of {said}; give the size it takes in "
            f"'distill_imgsz'."
        )


class Outputs(nn.Module):
    """Runs a module and lists the tensors that it returns."""

    def __init__(self, module: nn.Module):
        """Keep the module."""
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return all tensors."""
        return list(tensors(self.module(x)))


class Pick(nn.Module):
    """Takes one tensor out of a list."""

    def __init__(self, index: int):
        """Keep its place."""
        super().__init__()
        self.index = index

    def forward(self, x: list[torch.Tensor]) -> torch.Tensor:
        """Return the tensor."""
        return x[self.index]


class Classify(Pick):
    """A head that returns class logits, as upstream's of the same name does in training; its other inputs are maps."""

    def forward(self, x: list) -> torch.Tensor:
        """Return logits (N, classes)."""
        return super().forward(x[-1])


class Maps(nn.Module):
    """A head that is given maps and predicts nothing."""

    def forward(self, x: list) -> None:
        """Return nothing."""


def tensors(x: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in lists, tuples and dicts, in their order."""
    if isinstance(x, torch.Tensor):
        yield x
    elif isinstance(x, (list, tuple, dict)):
        for v in x.values() if isinstance(x, dict) else x:
            yield from tensors(v)


def is_ultralytics(module: Any) -> bool:
    """Whether a module has Ultralytics' list of layers."""
    layers = getattr(module, "model", None)
    return isinstance(layers, nn.Sequential) and len(layers) > 0 and all(hasattr(m, "f") for m in layers)


def save_module(whole: Any, path: Path) -> None:
    """Save a whole module, or a checkpoint with one; where it cannot be pickled, say what that means and go on."""
    try:
        save_whole(whole, path)
        LOGGER.info(f"Distillation: teacher saved to {path}, for resume and spawned workers")
    except OSError:
        raise
    except Exception as e:
        LOGGER.warning(
            f"Distillation: the teacher cannot be saved ({reason(e)}), so this run can "
            f"neither be resumed nor spread over devices; define its class at the top level of a module."
        )


def read_module(path: str) -> nn.Module | None:
    """Return the module of no Ultralytics kind that a file holds as a whole, as `torch.save(module, path)` writes it.

    A checkpoint, which is a dictionary, is told by the file's first bytes and not loaded here.
    """
    from ultralytics.engine.model import Model

    if SAFE_LOAD or not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        pickles = [archive.read(n)[:3] for n in archive.namelist() if n.endswith("/data.pkl")]
    if not pickles or pickles[0][2:] == pickle.EMPTY_DICT:
        return None
    try:
        found = torch_load(path, map_location="cpu")
    except Exception:
        return None
    whole = isinstance(found, nn.Module) and not isinstance(found, Model) and not is_ultralytics(found)
    return found if whole else None
