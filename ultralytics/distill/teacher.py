# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Finds, checks, freezes and speeds up the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics.distill.cuda import Recorded
from ultralytics.distill.files import save_whole
from ultralytics.distill.graph import Tapped, frozen_tails, replay, tap
from ultralytics.distill.packed import pack
from ultralytics.distill.speed import choose_format, fuse
from ultralytics.utils import LOGGER


@dataclass
class Source:
    """Where the teacher comes from.

    Attributes:
        module (nn.Module | None): The teacher as given or loaded; never changed. None for the student's own average.
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

    def write(self) -> None:
        """Save a teacher that was given as an object, once, as a checkpoint that upstream loads."""
        if not self.save:
            return
        module = deepcopy(self.module).float()
        module.criterion = None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        args = getattr(module, "args", {})
        args = args if isinstance(args, dict) else vars(args)
        save_whole({"epoch": -1, "model": module.eval(), "train_args": {**args, "model_t": None}}, self.path)
        self.save = False
        LOGGER.info(f"Distillation: teacher saved to {self.path}, for resume and spawned workers")


def resolve(value: Any, place: Path) -> Source:
    """Find the teacher and load it, before anything is written.

    Args:
        value (Any): `model_t`: a path, a `YOLO`, an `nn.Module`, or the word `ema`.
        place (Path): Where an object without a file will be saved.

    Returns:
        (Source): The teacher.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the file is no Ultralytics checkpoint or the value is something else.
    """
    from ultralytics.engine.model import Model

    if value == "ema":
        return Source(None, Path("ema"))
    if isinstance(value, (str, Path)):
        source = Source(*_load(str(value)))
    else:
        module = value.model if isinstance(value, Model) else value
        if not isinstance(module, nn.Module):
            raise ValueError(f"'model_t={value!r}' is not a path, a YOLO or an nn.Module.")
        file = Path(getattr(module, "pt_path", None) or "teacher.pt")
        if file.is_file() and _equals_file(module, file):
            source = Source(module, file.resolve(), live=True)
        else:
            source = Source(module, place, save=True, live=True)
    if not isinstance(getattr(source.module, "model", None), nn.Sequential):
        raise ValueError(
            f"'model_t' is a {type(source.module).__name__}, which has no list of layers; give an Ultralytics model."
        )
    if _untrained(source.module):
        LOGGER.warning(f"'model_t={source.path}' is an untrained teacher: it has random weights and teaches noise.")
    return source


def _load(text: str) -> tuple[nn.Module, Path]:
    """Load a teacher from a checkpoint, or build an untrained one from a YAML."""
    from ultralytics import YOLO
    from ultralytics.nn.tasks import load_checkpoint
    from ultralytics.utils.checks import check_model_file_from_stem

    path = str(check_model_file_from_stem(text))
    try:
        if text.endswith((".yaml", ".yml")):
            return YOLO(text).model, Path(text)
        module, _ = load_checkpoint(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"'model_t={text}' does not exist; give the path of a trained model (.pt).") from None
    except Exception as e:
        reason = (str(e) or type(e).__name__).splitlines()[0].rstrip(".")
        raise ValueError(
            f"'model_t={text}' cannot be read as an Ultralytics checkpoint ({reason}); give a trained model (.pt)."
        ) from e
    return module, Path(getattr(module, "pt_path", path)).resolve()


def _equals_file(module: nn.Module, file: Path) -> bool:
    """Whether a live teacher still holds the weights of the file it came from."""
    from ultralytics.nn.tasks import load_checkpoint

    try:
        saved = load_checkpoint(file)[0].state_dict()
    except Exception:
        return False
    live = module.state_dict()
    return live.keys() == saved.keys() and all(torch.equal(v.cpu().float(), saved[k].float()) for k, v in live.items())


def _untrained(module: nn.Module) -> bool:
    """Whether no BatchNorm has ever seen a batch."""
    norms = (m for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    means = [m.running_mean for m in norms if m.running_mean is not None]
    return bool(means) and not any(m.any() for m in means)  # an EMA, which is what is saved, keeps the counters at 0


class Teacher:
    """A frozen, fused copy of the teacher that yields maps and raw predictions.

    It is a plain object, so that neither an optimizer, an EMA, DDP, a deepcopy nor a checkpoint ever sees it.

    Args:
        source (Source): The teacher; its own module is left as it is.
        layers (Sequence[int]): Layers whose maps are wanted.
        head (bool): Whether raw predictions are wanted; without, the graph is cut after the last layer.
        features (bool): Whether the class head's inner features are wanted, and what follows them.
        device (torch.device): Where it runs.
        dtype (torch.dtype): Precision of its weights and maps.
        why (str): The precision and its reason, for the printed formula.
    """

    def __init__(
        self,
        source: Source,
        layers: Sequence[int],
        head: bool,
        features: bool,
        device: torch.device,
        dtype: torch.dtype,
        why: str = "",
    ):
        """Copy, fuse, cast and freeze the teacher."""
        self.layers, self.head, self.dtype = sorted(set(layers)), head, dtype
        model = source.module if not source.live else deepcopy(source.module)
        model.criterion = None
        fuse(model.float().eval())
        self.features = features
        self.tails = frozen_tails(model.to(device).model[-1]) if features else {}
        model.model[-1].training = True  # the head alone: raw predictions of every branch, no box decode
        self.format, self.why = choose_format(device, dtype), why or str(dtype).replace("torch.", "")
        self.model = model.to(device, dtype, memory_format=self.format).requires_grad_(False)
        self.packed = pack(self.model) if device.type == "cpu" and dtype != torch.float16 else 0
        self.run = Recorded(self._look) if device.type == "cuda" else self._look

    def __call__(self, images: torch.Tensor) -> Tapped:
        """Look at a batch.

        Args:
            images (torch.Tensor): Images (N, C, H, W), 0 to 1.

        Returns:
            (Tapped): Maps, head inputs and raw predictions, without gradient.
        """
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return self.run(images)

    def _look(self, images: torch.Tensor) -> Tapped:
        """Run the graph as far as it is wanted."""
        images = images.to(self.dtype, memory_format=self.format)
        if not self.features:
            return replay(self.model, images, self.layers, self.head)
        with tap(self.model, features=True) as inner:
            seen = replay(self.model, images, self.layers, self.head)
        seen.features, seen.tails = inner.features, self.tails
        return seen

    def describe(self) -> str:
        """Return its size, its precision and where its graph ends, in a few words."""
        size = sum(p.numel() for p in self.model.parameters()) / 1e6
        cut = "whole graph" if self.head else f"cut after layer {self.layers[-1]}"
        last = ["channels-last"] if self.format == torch.channels_last else []
        packed = ["packed by oneDNN"] if self.packed else []
        return ", ".join(["frozen", f"{size:.1f}M parameters", self.why, "fused", *last, *packed, cut])

    def __deepcopy__(self, memo: dict) -> Teacher:
        """Return itself: a frozen teacher needs no second copy."""
        return self
