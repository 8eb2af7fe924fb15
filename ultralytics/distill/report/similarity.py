# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""How alike two models see the same images: maps of both at paired layers, and linear CKA between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.distill.answers.images import fit_image, read_image
from ultralytics.distill.graph import Pair, run_layers
from ultralytics.distill.image_files import images_at
from ultralytics.distill.teacher.foreign import Foreign
from ultralytics.distill.teacher.preprocessing import Preprocessing

COUNT = 16  # images
ROWS = 4096  # positions of all images that are compared, at most


def linear_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the linear centered kernel alignment of two sets of features (Kornblith et al., arXiv 1905.00414).

    It is ||X'Y||^2 / (||X'X|| ||Y'Y||) of centered features, in Frobenius norms: 1 for features that are equal up to
    rotation and scale, 0 for unrelated ones, nan where one does not vary. Features are (n, p) and (n, q).
    """
    x, y = (v.double() - v.double().mean(0) for v in (x, y))
    scale = (x.T @ x).norm() * (y.T @ y).norm()
    return ((x.T @ y).norm().square() / scale).item() if scale > 0 else float("nan")


def read_images(files: Sequence[str | Path], size: int, channels: int = 3) -> torch.Tensor:
    """Read images (N, C, size, size) as a validation shows them, 0 to 1."""
    return torch.stack([fit_image(read_image(f, channels), size) for f in files]).float() / 255


def layer_maps(
    model: Any, layers: Sequence[int], images: torch.Tensor, preprocess: Preprocessing | None = None
) -> dict[int, torch.Tensor]:
    """Return a model's maps (N, C, H, W) at some layers in eval mode, on a CPU in fp32."""
    device = next(model.parameters(), torch.zeros(1)).device
    model.eval()
    with torch.no_grad():
        shown = images.to(device) if preprocess is None else preprocess(images.to(device))
        return {i: m.float().cpu() for i, m in run_layers(model, shown, sorted(set(layers))).maps.items()}


def compare(
    student: nn.Module,
    teacher: nn.Module | Foreign,
    pairs: Sequence[Pair],
    images: torch.Tensor,
    preprocess: Preprocessing | None = None,
) -> dict[str, float]:
    """Return the linear CKA of two models at each layer pair; positions of all images are the things compared."""
    s = layer_maps(student, [p.student for p in pairs], images)
    t = layer_maps(teacher, [p.teacher for p in pairs], images, preprocess)
    found = {}
    for p in pairs:
        a, b = s[p.student], t[p.teacher]
        b = b if a.shape[2:] == b.shape[2:] else F.interpolate(b, a.shape[2:], mode="bilinear", align_corners=False)
        rows = [x.permute(0, 2, 3, 1).flatten(0, 2) for x in (a, b)]
        step = -(-len(rows[0]) // ROWS)
        found[p.name] = linear_cka(rows[0][::step], rows[1][::step])
    return found


def activation_map(maps: torch.Tensor) -> np.ndarray:
    """Return where a map (C, H, W) is active, 0 to 1: the mean absolute value over channels, as attention transfer."""
    x = maps.abs().mean(0).numpy()
    return (x - x.min()) / max(float(x.max() - x.min()), 1e-9)


def evenly_spaced(items: Sequence[Any], count: int) -> list[Any]:
    """Return some items, evenly spaced from the first to the last."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)]


def validation_images(data: str, task: str) -> list[Path]:
    """Return the image files of a validation set."""
    from ultralytics.data.utils import check_cls_dataset, check_det_dataset

    place = (check_cls_dataset(data, split="val") if task == "classify" else check_det_dataset(data))["val"]
    found = [f for p in (place if isinstance(place, list) else [place]) for f in images_at(Path(p))]
    return sorted(p for f in set(found) if (p := Path(f)).is_file())
