# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Draws batches of images for ever, each round in another order, and knows where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Sampler

from ultralytics.distill.answers.dataset import KEY, KEYS

GREY = 114 / 255  # what upstream fills an image up with


class InfiniteSampler(Sampler):
    """Batches of indices without end: round by round, each in an order of its own, shared out among the processes.

    Args:
        length (int): Images.
        count (int): Images of a batch, all of the same number.
        seed (int): Of the orders.
        rank (int): This process.
        world (int): Processes; each has its own part of every round.

    Attributes:
        drawn (int): Images that this process has had; the next iteration begins behind them.
    """

    def __init__(self, length: int, count: int, seed: int = 0, rank: int = 0, world: int = 1):
        """Start with the first round."""
        self.length, self.count, self.seed, self.rank, self.world = length, count, seed, rank, world
        self.drawn = 0

    def __iter__(self) -> Iterator[list[int]]:
        """Yield batches from where `drawn` stands."""
        first, number, order = self.drawn, -1, [0]
        while True:
            batch = []
            for place in range(first, first + self.count):
                turn, index = divmod(place * self.world + self.rank, self.length)
                if turn != number:
                    number, order = turn, self._order(turn)
                batch.append(order[index])
            first += self.count
            yield batch

    def _order(self, number: int) -> list[int]:
        """Return the order of a round, the same in every process."""
        generator = torch.Generator().manual_seed(self.seed * 100003 + number)
        return torch.randperm(self.length, generator=generator).tolist()


class InfiniteLoader:
    """Loads batches of a data set for ever, in the way of the labelled images' loader."""

    def __init__(self, dataset: Any, rounds: InfiniteSampler, like: DataLoader, workers: int):
        """Start no worker yet."""
        self.dataset, self.rounds = dataset, rounds
        self.iterator: Iterator[dict[str, Any]] | None = None
        self.loader = DataLoader(
            dataset,
            batch_sampler=rounds,
            num_workers=workers,
            collate_fn=like.collate_fn,
            pin_memory=like.pin_memory,
            worker_init_fn=like.worker_init_fn,
            generator=torch.Generator().manual_seed(rounds.seed * 100003 + 50021 + rounds.rank),
        )

    def draw(self) -> dict[str, Any]:
        """Return the next batch."""
        if self.iterator is None:
            self.iterator = iter(self.loader)
        batch = next(self.iterator)
        self.rounds.drawn += self.rounds.count
        return batch

    def restart(self) -> None:
        """Let go of what was loaded ahead, so that the next batch is as the data set and the place now are."""
        self.iterator = None


def fit_size(images: torch.Tensor, size: Sequence[int], fill: float = GREY) -> torch.Tensor:
    """Return images (U, C, h, w), 0 to 1, in another size (H, W), cut or filled up in the middle.

    They are as large as they fit by their longer side; nothing is stretched.
    """
    old = images.shape[2:]
    sides, (y, x) = placement(old, size)
    if sides != list(old):
        images = F.interpolate(images, sides, mode="bilinear", align_corners=False)
    far = size[1] - sides[1] - x, size[0] - sides[0] - y  # negative numbers cut
    return F.pad(images, (x, far[0], y, far[1]), value=fill) if sides != list(size) else images


def placement(old: Sequence[int], size: Sequence[int]) -> tuple[list[int], tuple[int, int]]:
    """Return the sides (h, w) that an image of an old size has inside of another size (H, W), and where it begins."""
    ratio = max(size) / max(old)
    sides = [max(round(x * ratio), 1) for x in old]
    return sides, ((size[0] - sides[0]) // 2, (size[1] - sides[1]) // 2)


def fit_answers(batch: dict[str, Any], size: Sequence[int], like: dict[str, Any], extra: str) -> dict[str, Any]:
    """Return a batch whose answers go where `fit_size` takes its images.

    Upright boxes and masks are cut at the image's border, keypoints outside are invisible there, and rotated boxes stay
    whole while their centre is inside, as with upstream's augmentations.

    Args:
        batch (dict): Unlabelled images in their own size, with answers or without.
        size (Sequence[int]): Height and width that they get.
        like (dict): The labelled batch, whose masks have the size that masks get.
        extra (str): What stands beside boxes: `masks`, `keypoints`, `angles` or nothing.
    """
    old, (height, width) = batch["img"].shape[2:], size
    if KEY not in batch or tuple(old) == tuple(size):
        return batch
    sides, first = placement(old, size)
    scale = np.array([sides[1] / width, sides[0] / height], np.float32)
    shift = np.array([first[1] / width, first[0] / height], np.float32)
    told: dict[str, list[Any]] = {k: [] for k in KEYS if k in batch}
    for rows, *more in zip(*(batch[k] for k in told)):
        xy, wh = rows[:, :2] * scale + shift, rows[:, 2:4] * scale
        if extra != "angles":
            ends = np.stack([xy - wh / 2, xy + wh / 2]).clip(0, 1)
            xy, wh = ends.mean(0), ends[1] - ends[0]
        kept = ((wh > 0) & (xy >= 0) & (xy <= 1)).all(1)
        told[KEY].append(np.concatenate([xy, wh, rows[:, 4:]], 1)[kept])
        for name, x in zip([*told][1:], more):
            x = x[torch.from_numpy(kept)]
            told[name].append(_moved(x, scale, shift) if extra == "keypoints" else _cut(x, like[name][0].shape[1:]))
    return {**batch, **told}


def _moved(points: torch.Tensor, scale: np.ndarray, shift: np.ndarray) -> torch.Tensor:
    """Return keypoints (k, K, 3), shares of an image and their visibility, as shares of another one."""
    xy = points[..., :2] * torch.from_numpy(scale) + torch.from_numpy(shift)
    inside = ((xy >= 0) & (xy <= 1)).all(2, keepdim=True)
    return torch.cat([xy, points[..., 2:] * inside], 2)


def _cut(masks: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Return masks (k, h, w), 1 inside, in another size."""
    return fit_size(masks[:, None].float(), size, fill=0.0)[:, 0].round() if len(masks) else masks.new_zeros(0, *size)
