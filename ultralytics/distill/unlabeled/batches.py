# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The unlabelled images of a run: read from its arguments, and drawn beside each labelled batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from torch import distributed as dist
from torch import nn

from ultralytics.distill.answers.join import add_to_unlabeled_set
from ultralytics.distill.image_files import find, look_through, named, shared
from ultralytics.distill.runtime.distributed import is_distributed, loader_workers
from ultralytics.distill.unlabeled.dataset import without_labels
from ultralytics.distill.unlabeled.loader import InfiniteLoader, InfiniteSampler, fit_answers, fit_size
from ultralytics.distill.values import number
from ultralytics.utils import LOGGER, RANK

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


class Unlabeled:
    """Images without labels, some of which every step sees.

    Args:
        files (list[str]): Image files.
        share (float): Share of a batch that they are.
        alone (bool): There are no labelled images: these are all of every batch, and an epoch.

    Attributes:
        counts (tuple[int, int]): Labelled and unlabelled images of a batch of this process, once there are loaders.
        loader (InfiniteLoader | None): What loads them, once built; none where they are alone.
        drawn (int): Images that this process has had in the whole run.
    """

    def __init__(self, files: list[str], share: float, alone: bool = False):
        """Keep what can be read; what cannot is said."""
        self.share, self.counts, self.drawn, self.alone = share, (0, 0), 0, alone
        self.loader: Any = None  # an `InfiniteLoader`, once built
        self.files, broken, copies = look_through(files)
        for wrong, what in ((broken, "cannot be read"), (copies, "are copies of others")):
            if wrong:
                warn(f"{len(wrong)} of {len(files)} unlabelled images {what} and are skipped: {named(wrong)}")
        if not self.files:
            raise ValueError(f"'unlabeled' holds {len(files)} images, and none of them can be read; give others.")

    def follow(self, trainer: BaseTrainer) -> None:
        """Come along wherever the trainer, which has no loaders yet, builds them or closes its mosaic."""
        build, close = trainer.get_dataloader, trainer._close_dataloader_mosaic

        def get_dataloader(path: Any, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
            if mode != "train":
                loader = build(path, batch_size=batch_size, rank=rank, mode=mode)
                self._compare(loader.dataset)
                return loader
            self.counts = (0, batch_size) if self.alone else split(batch_size, self.share)
            loader = build(path, batch_size=self.counts[0] or 1, rank=rank, mode=mode)
            if self.alone:
                with _building(trainer, self._dataset(trainer, loader.dataset)):
                    return build(path, batch_size=batch_size, rank=rank, mode=mode)
            self._build(trainer, loader)
            return loader

        def close_mosaic() -> None:
            close()
            if hasattr(getattr(self.loader, "dataset", None), "close_mosaic"):
                self.loader.dataset.close_mosaic(hyp=copy(trainer.args))
            self.stop()

        trainer.get_dataloader, trainer._close_dataloader_mosaic = get_dataloader, close_mosaic
        if self.alone and hasattr(trainer, "auto_batch"):
            self._count(trainer)
        trainer.add_callback("teardown", lambda trainer: self.stop())

    def draw(self, trainer: BaseTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the next batch, on the trainer's device and in the size of a labelled batch."""
        if self.alone:
            self.drawn += len(batch["img"])
            return batch
        args, more = trainer.args, self.loader.draw()
        scale, args.multi_scale = args.multi_scale, 0.0  # one size for both kinds: that of the labelled images
        try:
            more = trainer.preprocess_batch(more)
        finally:
            args.multi_scale = scale
        self.drawn = self.loader.rounds.drawn
        size, answers = batch["img"].shape[2:], getattr(self.loader.dataset, "answers", None)
        more = fit_answers(more, size, batch, answers.extra if answers else "")
        return {**more, "img": fit_size(more["img"], size)}

    def continue_from(self, drawn: int) -> None:
        """Go on where an interrupted run was."""
        if self.loader:
            self.drawn = self.loader.rounds.drawn = drawn
        self.stop()

    def stop(self) -> None:
        """Let go of what was loaded ahead, and of the processes that load."""
        if self.loader:
            self.loader.restart()

    def describe(self, trainer: BaseTrainer) -> str:
        """Return how many images there are of each kind, in a sentence."""
        images, labelled = len(self.files), len(trainer.train_loader.dataset)
        if self.alone:
            return f"{images} unlabelled images and no labelled one: they are the epoch, and the task loss is skipped"
        processes = dist.get_world_size() if is_distributed() else 1
        steps = images / (self.counts[1] * processes)
        return (
            f"{images} unlabelled images beside {labelled} labelled ones, {self.counts[1]} + {self.counts[0]} in a "
            f"batch{' of each process' if processes > 1 else ''}; an epoch is {len(trainer.train_loader)} "
            f"batches, the unlabelled come round in {math.ceil(steps)}"
        )

    def _dataset(self, trainer: BaseTrainer, like: Any) -> Any:
        """Return a data set of these images in the manner of the labelled one."""
        return add_to_unlabeled_set(trainer, without_labels(like, self.files, trainer.args))

    def _build(self, trainer: BaseTrainer, like: Any) -> None:
        """Build the loader in the manner of the labelled images'."""
        dataset = self._dataset(trainer, like.dataset)
        rank, world = (dist.get_rank(), dist.get_world_size()) if is_distributed() else (0, 1)
        rounds = InfiniteSampler(len(self.files), self.counts[1], trainer.args.seed, rank, world)
        rounds.drawn = self.drawn
        self.loader = InfiniteLoader(dataset, rounds, like, loader_workers(trainer.args.workers, world))

    def _count(self, trainer: BaseTrainer) -> None:
        """Let auto-batch, whose batch is at most all images, count the unlabelled ones."""
        weigh = trainer.auto_batch

        def auto_batch(*args: Any, **kwargs: Any) -> int:
            like = trainer.build_dataset(trainer.data["train"], mode="train", batch=1)
            with _building(trainer, self._dataset(trainer, like)):
                return weigh(*args, **kwargs)

        trainer.auto_batch = auto_batch

    def _compare(self, validation: Any) -> None:
        """Warn where images are those of the validation set."""
        others = getattr(validation, "im_files", None) or [s[0] for s in getattr(validation, "samples", ())]
        if same := shared(self.files, list(others)):
            warn(
                f"{len(same)} of {len(self.files)} unlabelled images are in the validation set too, on which the "
                f"student then looks better than it is: {named(same)}"
            )


@contextmanager
def _building(trainer: BaseTrainer, dataset: Any) -> Iterator[None]:
    """Let the trainer build a loader over a data set that is there already."""
    trainer.build_dataset = lambda *args, **kwargs: dataset
    try:
        yield
    finally:
        del trainer.build_dataset


def read_share(args: SimpleNamespace) -> float:
    """Return the share of a batch that is unlabelled, or raise a ValueError."""
    share = number("unlabeled_share", args.unlabeled_share, above=0)
    if share >= 1:
        raise ValueError(f"'unlabeled_share={args.unlabeled_share}' must be a number above 0 and below 1.")
    return share


def require_images_alone(student: nn.Module) -> None:
    """Raise a ValueError for a student that takes something along with each image, which unlabelled ones lack."""
    if found := {c.__name__ for c in type(student).__mro__} & {"WorldModel", "YOLOEModel"}:
        raise ValueError(
            f"'unlabeled' is not for a {found.pop()} as student, which takes texts along with each image; leave it "
            f"out, or train a student of fixed classes with such a model as its teacher."
        )


def split(batch: int, share: float) -> tuple[int, int]:
    """Return how many labelled and unlabelled images a batch has, or raise a ValueError where one kind had none."""
    count = round(batch * share)
    if not 0 < count < batch:
        kind = "unlabelled" if not count else "labelled"
        raise ValueError(
            f"'unlabeled_share={share}' leaves no {kind} image in a batch of {batch}; give another share, or a larger "
            f"'batch'."
        )
    return batch - count, count


def files_of(args: SimpleNamespace, data: dict[str, Any] | None = None) -> list[str]:
    """Return the unlabelled image files that the arguments name, or the data set's YAML where they name none."""
    if args.unlabeled:
        return find(args.unlabeled)
    data = data or {}
    value, root = data.get("unlabeled"), data.get("path")
    return find(value, Path(root) if root else None) if value else []


def warn(text: str) -> None:
    """Warn once, however many processes run."""
    if RANK in {-1, 0}:
        LOGGER.warning(text)
