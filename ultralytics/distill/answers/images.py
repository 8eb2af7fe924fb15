# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The images of a data set or a folder, letterboxed, without their labels."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from ultralytics.data.augment import LetterBox
from ultralytics.data.base import BaseDataset
from ultralytics.utils.patches import imread


class Images(Dataset):
    """Images as upstream finds, reads and letterboxes them, square and of some channels.

    They lie where a split of a data set's YAML says, in a folder, a list of files, or several, and are named below a
    root, the data set's folder. Those that are done are left out. A FileNotFoundError says that there are none.
    """

    def __init__(self, where: Any, root: str | Path, size: int, done: Collection[str] = (), channels: int = 3):
        """List the files."""
        files = BaseDataset.get_img_files(SimpleNamespace(prefix="", fraction=1.0), where)
        named = [(f, self.name(f, Path(root))) for f in files]
        self.files = [x for x in named if x[1] not in set(done)]
        self.total, self.size, self.channels = len(files), size, channels

    @staticmethod
    def name(file: str, root: Path) -> str:
        """Return a file's path below a folder, with slashes; its own name where it lies elsewhere."""
        path, root = Path(file).resolve(), root.resolve()
        return path.relative_to(root).as_posix() if root in path.parents else path.name

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an image (C, H, W) of whole numbers, its name, and its own height and width."""
        file, name = self.files[index]
        image, shape = read_image(file, self.size, self.channels)
        return {"img": image, "name": name, "shape": shape}

    @staticmethod
    def collate_fn(samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch: images (N, C, H, W), and lists of names and shapes."""
        return {k: [s[k] for s in samples] if k != "img" else torch.stack([s[k] for s in samples]) for k in samples[0]}


def read_image(file: str | Path, size: int, channels: int = 3) -> tuple[torch.Tensor, tuple[int, int]]:
    """Read an image as a validation shows it, letterboxed, RGB, gray or of other channels.

    Returns:
        image (torch.Tensor): Whole numbers (C, size, size).
        shape (tuple[int, int]): Its own height and width.
    """
    flag = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}.get(channels, cv2.IMREAD_UNCHANGED)
    found = imread(str(file), flag)
    if found is None:
        raise FileNotFoundError(f"'{file}' is no image that can be read.")
    image = np.asarray(LetterBox((size, size), auto=False)(image=found)).reshape(size, size, -1)
    image = image[..., ::-1] if channels == 3 else image
    return torch.from_numpy(image.transpose(2, 0, 1).copy()), found.shape[:2]
