# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Reads a model's layer graph: taps a forward that runs anyway, replays one up to a layer, probes and pairs layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ultralytics.distill.head_outputs import read_output
from ultralytics.distill.inference import run_dummy_input
from ultralytics.distill.text_prompts import TextPrompts


@dataclass
class Capture:
    """What one forward showed.

    Attributes:
        maps (dict[int, torch.Tensor]): Output of each tapped layer, (N, C, H, W).
        inputs (list[torch.Tensor]): The maps that entered the head.
        output (Any): What the head returned.
        features (dict[str, dict[str, list[torch.Tensor]]]): For each branch the inner features of the layers that
            predict `classes` and `boxes`, level by level.
        tails (dict[str, dict[str, list[nn.Module]]]): For each branch what follows them, frozen; a teacher's.
        branch_weights (dict[str, float]): How the student's criterion weighs each branch, 1 on average; if it does.
        criterion (Any): The student's criterion with what it was given, where a term asks it once more.
    """

    maps: dict[int, torch.Tensor] = field(default_factory=dict)
    inputs: list[torch.Tensor] = field(default_factory=list)
    output: Any = None
    features: dict[str, dict[str, list[torch.Tensor]]] = field(default_factory=dict)
    tails: dict[str, dict[str, list[nn.Module]]] = field(default_factory=dict)
    branch_weights: dict[str, float] = field(default_factory=dict)
    criterion: Any = None


@contextmanager
def capture(model: nn.Module, layers: Sequence[int] = (), features: bool = False) -> Iterator[Capture]:
    """Watch the forward that runs inside the block: chosen layers, the head's inputs and its raw output.

    The hooks live only as long as the block, so none is copied into an EMA or pickled into a checkpoint. The
    head's inner features are watched where `features` asks. What is yielded is filled while the forward runs.
    """
    seen = Capture()

    def keep(index: int) -> Callable[..., None]:
        return lambda module, args, out: seen.maps.__setitem__(index, out)

    def enter(module: nn.Module, args: tuple) -> None:
        seen.inputs = only_maps(args[0])

    def leave(module: nn.Module, args: tuple, out: Any) -> None:
        seen.output = read_output(module, seen.inputs, out)

    def append(levels: list[torch.Tensor]) -> Callable[..., None]:
        return lambda module, args, out: levels.append(out)

    head = model.model[-1]
    handles = [head.register_forward_pre_hook(enter), head.register_forward_hook(leave)]
    handles += [model.model[i].register_forward_hook(keep(i)) for i in layers]
    for branch, parts in (head_branches(head) if features else {}).items():
        found = seen.features[branch] = {part: [] for part in parts}
        handles += [m[0].register_forward_hook(append(found[k])) for k, levels in parts.items() for m in levels]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def run_layers(
    model: nn.Module, images: torch.Tensor, layers: Sequence[int], head: bool = False, features: bool = False
) -> Capture:
    """Run a model layer by layer, as its own forward does, and stop after the last layer asked for.

    Returns:
        (Capture): The maps asked for of images (N, C, H, W) and, with the head, its inputs and output, and where they
            are wanted the head's inner features.
    """
    if features:
        with capture(model, features=True) as inner:
            seen = run_layers(model, images, layers, head)
        seen.features = inner.features
        return seen
    x: Any = images
    outputs: list[Any] = []
    seen, wanted, prompts = Capture(), set(layers), TextPrompts(model, images)
    last = len(model.model) - 1
    stop = last if head else max(wanted)
    for m in model.model:
        if m.f != -1:
            x = outputs[m.f] if isinstance(m.f, int) else [x if j == -1 else outputs[j] for j in m.f]
        if m.i == last:
            seen.inputs = only_maps(x)
        x = prompts.run(m, x)
        outputs.append(x if m.i in model.save else None)
        if m.i in wanted:
            seen.maps[m.i] = x
        if m.i == stop:
            break
    seen.output = read_output(m, seen.inputs, x) if head else None
    return seen


def only_maps(x: Any) -> list[torch.Tensor]:
    """Return the maps among a head's inputs; YOLOE's has text embeddings too."""
    return [v for v in (x if isinstance(x, (list, tuple)) else [x]) if isinstance(v, torch.Tensor) and v.ndim == 4]


def class_heads(head: nn.Module) -> dict[str, Sequence[nn.Sequential]]:
    """Return what predicts classes in each branch of a detection head, level by level."""
    return {k: parts["classes"] for k, parts in head_branches(head).items()}


def head_branches(head: nn.Module) -> dict[str, dict[str, Sequence[nn.Sequential]]]:
    """Return what predicts `classes` and `boxes` in each branch; the first block of a level has its inner features."""
    names = {"one2many": ("cv3", "cv2"), "one2one": ("one2one_cv3", "one2one_cv2")}
    found: dict[str, dict[str, Any]] = {
        k: {"classes": getattr(head, cv3, None), "boxes": getattr(head, cv2, None)} for k, (cv3, cv2) in names.items()
    }
    return {k: parts for k, parts in found.items() if parts["classes"] is not None}


def frozen_tails(head: nn.Module) -> dict[str, dict[str, list[nn.Module]]]:
    """Return fp32 copies of what follows the inner features in each branch; they take no gradient themselves."""
    return {
        branch: {k: [deepcopy(m[1:]).float().eval().requires_grad_(False) for m in v] for k, v in parts.items()}
        for branch, parts in head_branches(head).items()
    }


def head_inputs(model: nn.Module) -> list[int]:
    """Return the indices of the layers that feed the head."""
    head = model.model[-1]
    sources = [head.f] if isinstance(head.f, int) else list(head.f)
    return [head.i + j if j < 0 else j for j in sources]


def probe(model: nn.Module, layers: Sequence[int]) -> dict[int, tuple[int, float]]:
    """Find the width and stride of layers' outputs with a blank image; leaves no trace in the model.

    BatchNorm statistics, training modes and the random state are as before, so that a seed still gives the same run.

    Returns:
        (dict[int, tuple[int, float]]): Channels and stride in pixels a cell for each layer; layers whose output is no
            (N, C, H, W) map are left out.

    Raises:
        ValueError: If the model takes no blank image.
    """
    with capture(model, layers) as seen:
        height, _ = run_dummy_input(model)
    maps = {i: m for i, m in seen.maps.items() if isinstance(m, torch.Tensor) and m.ndim == 4}
    return {i: (m.shape[1], height / m.shape[2]) for i, m in maps.items()}


@dataclass
class Pair:
    """A student layer and the teacher layer it learns from.

    Attributes:
        student (int): Student layer index.
        teacher (int): Teacher layer index.
        channels (tuple[int, int]): Widths of both maps.
        strides (tuple[float, float]): Pixels a cell of both maps.
        name (str): `P3` for stride 8 and so on when paired by stride, else `15-18`.
        imgsz (int | tuple[int, int] | None): The teacher's own image size in pixels, None for the student's.
    """

    student: int
    teacher: int
    channels: tuple[int, int]
    strides: tuple[float, float]
    name: str
    imgsz: int | tuple[int, int] | None = None


def pair(student: nn.Module, teacher: nn.Module, layers: str | Sequence[tuple[int, int]] = "auto") -> list[Pair]:
    """Pair layers of two models.

    Args:
        student (nn.Module): The student, unwrapped.
        teacher (nn.Module): The teacher, unwrapped.
        layers (str | Sequence[tuple[int, int]]): `auto` pairs the inputs of the two heads by stride; otherwise
            (student, teacher) index pairs, taken as they are.

    Returns:
        (list[Pair]): At least one pair.

    Raises:
        ValueError: If a layer is out of range or yields no map, or if no stride is shared.
    """
    if not isinstance(layers, str):
        return _pair_by_hand(student, teacher, layers)
    s, t = (probe(m, head_inputs(m)) for m in (student, teacher))
    of_stride = {stride: i for i, (_, stride) in t.items()}
    pairs = [
        Pair(i, of_stride[v], (c, t[of_stride[v]][0]), (v, v), f"P{v:g}" if v % 1 else f"P{int(v).bit_length() - 1}")
        for i, (c, v) in s.items()
        if v in of_stride
    ]
    if not pairs:
        raise ValueError(
            f"'distill_layers=auto' finds no common stride: the student's head sees strides "
            f"{[v for _, v in s.values()]}, the teacher's {[v for _, v in t.values()]}; "
            f"give [[student, teacher], ...] layer indices."
        )
    return pairs


def _pair_by_hand(student: nn.Module, teacher: nn.Module, layers: Sequence[tuple[int, int]]) -> list[Pair]:
    """Pair the layers that the user named, which may have any strides."""
    found = []
    shown = [s if s == t else [s, t] for s, t in layers]
    for role, model, indices in zip(("student", "teacher"), (student, teacher), zip(*layers)):
        count = len(model.model)
        if bad := [i for i in indices if i >= count - 1]:
            raise ValueError(
                f"'distill_layers={shown}': the {role} has layers 0 to {count - 2} before its "
                f"head, {bad[0]} is out of range."
            )
        probed = probe(model, sorted(set(indices)))
        if bad := [i for i in indices if i not in probed]:
            raise ValueError(f"'distill_layers={shown}': layer {bad[0]} of the {role} yields no 4-D map.")
        found.append(probed)
    s, t = found
    return [Pair(i, j, (s[i][0], t[j][0]), (s[i][1], t[j][1]), f"{i}" if i == j else f"{i}-{j}") for i, j in layers]
