# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Draws batches of images for ever, each round in another order, and knows where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Sampler

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


def fit_size(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return images (U, C, h, w), 0 to 1, in another size (H, W), cut or filled up in the middle.

    They are as large as they fit by their longer side; nothing is stretched.
    """
    old = tuple(images.shape[2:])
    if old == tuple(size):
        return images
    ratio = max(size) / max(old)
    if ratio != 1:
        new = [max(round(x * ratio), 1) for x in old]
        images = F.interpolate(images, new, mode="bilinear", align_corners=False)
    (dy, dx) = (wanted - has for wanted, has in zip(size, images.shape[2:]))
    return F.pad(images, (dx // 2, dx - dx // 2, dy // 2, dy - dy // 2), value=GREY)  # a negative width cuts
