# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A data set like the labelled one over other images, with its class, its augmentations, and no labels."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.data.base import BaseDataset
from ultralytics.data.dataset import ClassificationDataset
from ultralytics.distill.answers.dataset import remove_answers
from ultralytics.utils import colorstr

NO_LABEL = 255  # of a pixel, for upstream


def without_labels(dataset: Any, files: list[str], args: Any) -> Any:
    """Return a data set over other images that loads and augments them as the labelled one does its own.

    Mosaic and the like mix them with their own kind. Label files beside the images are not read, and nothing is written
    there but what `cache=disk` asks for.

    Args:
        dataset (BaseDataset | ClassificationDataset): The labelled data set, as upstream or its user built it.
        files (list[str]): Image files, each readable.
        args (SimpleNamespace): The trainer's arguments, for the augmentations.

    Returns:
        (BaseDataset | ClassificationDataset): Of the same class. Its `labels` hold no object.

    Raises:
        ValueError: If the data set is of another kind.
    """
    twin = copy(dataset)
    remove_answers(twin)  # those of the labelled images
    twin.prefix = colorstr("unlabeled: ")
    if isinstance(dataset, ClassificationDataset):
        twin.samples = [[f, 0, Path(f).with_suffix(".npy"), None] for f in files]
        if getattr(twin, "cache_ram", False) and hasattr(twin, "cache_images"):
            twin.cache_images()
        return twin
    if not isinstance(dataset, BaseDataset):
        raise ValueError(
            f"'unlabeled' takes its augmentations from one data set, and this trainer's is a {type(dataset).__name__}; "
            f"train without it, or on data of one YAML."
        )
    twin.im_files, twin.ni = list(files), len(files)
    twin.labels = [_empty(dataset.labels[0], f) for f in files]
    _start_afresh(twin)
    if hasattr(twin, "load_mask"):
        twin.load_mask, twin.masks = _no_mask, {}
    if hasattr(twin, "_load_depth"):
        twin._load_depth = _no_depth
    twin.transforms = twin.build_transforms(hyp=copy(args))  # with `rect`, these leave out mosaic
    twin.rect = False  # one size for all, which is cut to that of the labelled batch
    return twin


def _empty(label: dict[str, Any], file: str) -> dict[str, Any]:
    """Return an image's label without objects, in the form of another image's."""
    none = {k: v[:0] if isinstance(v, (np.ndarray, list)) and k != "texts" else v for k, v in label.items()}
    none.pop("shape", None)  # of the other image; upstream reads it for `rect` alone
    return {**none, "im_file": file}


def _start_afresh(twin: Any) -> None:
    """Give a copied data set a memory of its own, and fill it where images are cached."""
    twin.ims, twin.im_hw0, twin.im_hw = [None] * twin.ni, [None] * twin.ni, [None] * twin.ni
    twin.npy_files = [Path(f).with_suffix(".npy") for f in twin.im_files]
    twin.buffer = []
    twin.max_buffer_length = min(twin.ni, twin.batch_size * 8, 1000) if twin.augment else 0
    fits = {"ram": twin.check_cache_ram, "disk": twin.check_cache_disk}.get(twin.cache)
    if fits and fits():
        twin.cache_images()


def _no_mask(index: int, image_shape: tuple[int, int] = (1, 1)) -> np.ndarray:
    """Return a mask (H, W) in which no pixel has a class."""
    return np.full(image_shape, NO_LABEL, dtype=np.uint8)


def _no_depth(index: int) -> np.ndarray:
    """Return a depth map in which nothing was measured; its user brings it to the image's size."""
    return np.zeros((1, 1), dtype=np.float32)
