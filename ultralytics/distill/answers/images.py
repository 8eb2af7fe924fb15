# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The images of a data set or a folder, letterboxed, without their labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from ultralytics.data.augment import LetterBox
from ultralytics.data.base import BaseDataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.distill.image_files import find, root_of
from ultralytics.distill.spelling import split_list
from ultralytics.distill.upstream import load_yaml
from ultralytics.utils.checks import check_file
from ultralytics.utils.patches import imread


class Images(Dataset):
    """Images letterboxed as upstream's validation shows them, square and of some channels.

    Args:
        files (Mapping[str, str]): Image files, each with its name.
        size (int): Pixels of a side.
        done (Collection[str]): Names of those that are left out.
        channels (int): Channels of an image.
        stretch (bool): Whether each is given a second time, stretched to the square.
    """

    def __init__(
        self,
        files: Mapping[str, str],
        size: int,
        done: Collection[str] = (),
        channels: int = 3,
        stretch: bool = False,
    ):
        """List the files."""
        done = set(done)
        self.files = [(file, name) for file, name in files.items() if name not in done]
        self.size, self.channels = size, channels
        self.kinds = {"img": False, "stretched": True} if stretch else {"img": False}

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an image (C, H, W) of whole numbers, its name, and its own height and width; or what is no image."""
        file, name = self.files[index]
        try:
            image = read_image(file, self.channels)
        except FileNotFoundError:
            return {"broken": file}
        shown = {k: fit_image(image, self.size, stretch) for k, stretch in self.kinds.items()}
        return {**shown, "name": name, "shape": image.shape[:2]}

    @staticmethod
    def collate_fn(samples: list[dict[str, Any]]) -> dict[str, list[Any]]:
        """Return lists of images, names and shapes, and of the files that are no images."""
        keys = ("img", "stretched", "name", "shape", "broken")
        return {k: [s[k] for s in samples if k in s] for k in keys}


def list_images(data: Any, split: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Find images, and name each below its data set's folder, or below the folder that holds what was given.

    Args:
        data (str | Path | list): The YAML of a data set, whose `unlabeled` images belong to the split `train`; a
            folder, a list of files or a glob; or several of these.
        split (str): Which images of a YAML.

    Returns:
        files (dict[str, str]): Image files, each with a name that no other has.
        spec (dict[str, Any]): What the first YAML says, nothing without one.

    Raises:
        FileNotFoundError: If a part of `data` leads to no image; one sentence.
        ValueError: If a YAML has no such split.
    """
    found: dict[str, str] = {}
    first: dict[str, Any] = {}
    for item in [data] if isinstance(data, (str, Path)) and Path(data).exists() else split_list(data):
        if str(item).endswith((".yaml", ".yml")):
            files, spec = _of_yaml(str(item), split)
            root, first = Path(spec["path"]), first or spec
        else:
            files, root = find(item, argument="data"), Path(os.path.abspath(item)).parent
        for file in map(os.path.abspath, files):
            found.setdefault(file, _name_below(Path(file), root))
    counts = Counter(found.values())
    return {f: n if counts[n] == 1 else Path(f).relative_to(Path(f).anchor).as_posix() for f, n in found.items()}, first


def _of_yaml(file: str, split: str) -> tuple[list[str], dict[str, Any]]:
    """Return the images of a split of a data set, and what its YAML says, with an absolute `path`."""
    if not (path := check_file(file, hard=False)):
        raise FileNotFoundError(f"'data={file}' does not exist; give the YAML of a data set, or a folder of images.")
    raw = load_yaml(path)
    if raw.get("train") and raw.get("val") and split != "unlabeled":
        spec = check_det_dataset(file)
        reader = SimpleNamespace(prefix="", fraction=1.0)
        files = BaseDataset.get_img_files(reader, spec[split]) if spec.get(split) else []
    else:  # images without labels, which upstream does not read
        spec = {**raw, "path": os.path.abspath(root_of(raw, path))}
        files = find(raw[split], Path(spec["path"]), argument="data") if raw.get(split) else []
    if split == "train" and raw.get("unlabeled"):
        files = [*files, *find(raw["unlabeled"], Path(spec["path"]))]
    if not files:
        raise ValueError(f"'split={split}' is not in 'data={file}'; give train, val, test or unlabeled.")
    return files, spec


def _name_below(file: Path, root: Path) -> str:
    """Return a file's path below a folder, with slashes; its own name where it lies elsewhere."""
    for path, folder in ((file, root), (file.resolve(), root.resolve())):
        if folder in path.parents:
            return path.relative_to(folder).as_posix()
    return file.name


def read_image(file: str | Path, channels: int = 3) -> np.ndarray:
    """Read an image (H, W, C) of whole numbers, RGB, gray or of other channels, or raise a FileNotFoundError."""
    flag = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}.get(channels, cv2.IMREAD_UNCHANGED)
    found = imread(str(file), flag)
    if found is None:
        raise FileNotFoundError(f"'{file}' is no image that can be read.")
    found = found.reshape(*found.shape[:2], -1)
    return found[..., ::-1] if channels == 3 else found


def fit_image(image: np.ndarray, size: int, stretch: bool = False) -> torch.Tensor:
    """Return an image (H, W, C) as a square (C, size, size), letterboxed or stretched, as upstream validates on it."""
    fitted = LetterBox((size, size), False, stretch)(image=np.ascontiguousarray(image))  # 8.3 spells the last otherwise
    return torch.from_numpy(fitted.reshape(size, size, -1).transpose(2, 0, 1).copy())
