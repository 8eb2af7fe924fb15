# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Runs a model beside a training without a trace in it: in eval mode, and on a blank image to see what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from ultralytics.distill.runtime.errors import reason

PROBE = 256  # (pixels) side of a blank image: at this size upstream builds models and finds their heads' strides


def preserve_random(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context after which the generators of the CPU and of a device are as before."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


@contextmanager
def eval_mode(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Run a model in eval mode and without gradients; its modes and the random state are as before afterwards."""
    modes = {m: getattr(m, "training", False) for m in model.modules()}  # a frozen trace has no mode
    try:
        with preserve_random(device), torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def run_dummy_input(model: nn.Module, channels: int | None = None) -> tuple[int, int]:
    """Run a model on a blank image; leaves no trace in it.

    Returns:
        (tuple[int, int]): Height and width of the image in pixels: those at which a `Foreign` was tried, else `PROBE`,
            or the size that the model trains at where it takes no other.

    Raises:
        ValueError: If it takes none of these.
    """
    parameter = next(model.parameters(), torch.zeros(1))
    channels = channels or input_channels(model)
    given = getattr(model, "probe_size", None)  # a teacher may take one size only
    sizes = [given] if given else [(PROBE, PROBE), *_own_size(model)]
    said = ""
    for size in sizes:
        blank = torch.zeros(1, channels, *size, device=parameter.device, dtype=parameter.dtype)
        try:
            with eval_mode(model, parameter.device):
                model(blank)
            return size
        except Exception as e:
            said = said or reason(e)
    shapes = " or ".join(f"{channels}x{h}x{w}" for h, w in sizes)
    raise ValueError(
        f"a {type(model).__name__} cannot be tried with a blank image of {shapes} ({said}); leave out the terms that "
        f"compare maps, 'distill_feat=none' and 'distill_rel=none'."
    )


def input_channels(model: nn.Module) -> int:
    """Return how many channels an image has for a model.

    That is what upstream wrote down when it built the model, `channels` or in older versions `ch`. Where the first
    convolution takes another number, either it sees more than the image, as in a stem that folds pixels into channels,
    or somebody exchanged it: the model is tried.
    """
    if own := getattr(model, "channels", None):
        return own
    yaml = getattr(model, "yaml", None) or {}
    said = yaml.get("channels") or yaml.get("ch")
    first = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if said in {None, first} or first is None:
        return said or first or 3
    try:
        run_dummy_input(model, said)
    except ValueError:
        return first
    return said


def model_args(model: nn.Module) -> dict[str, Any]:
    """Return the arguments that a model is or was trained with."""
    args: Any = getattr(model, "args", None) or {}
    return args if isinstance(args, dict) else getattr(args, "__dict__", {})


def _own_size(model: nn.Module) -> list[tuple[int, int]]:
    """Return the size that a model is or was trained at, where it is known and another than `PROBE`."""
    size = model_args(model).get("imgsz")
    sides = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    plain = len(sides) == 2 and all(isinstance(x, int) for x in sides)
    return [sides] if plain and sides != (PROBE, PROBE) else []
