# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Holds a file of answers against the data, and lets it join the training set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ultralytics.data.utils import exif_size
from ultralytics.distill.answers.dataset import DatasetAnswers
from ultralytics.distill.answers.recorded import Recorded
from ultralytics.distill.answers.table import Table, find_images
from ultralytics.utils import LOGGER, RANK

if TYPE_CHECKING:
    from ultralytics.distill.answers.final import FinalBoxes
    from ultralytics.engine.trainer import BaseTrainer


def add_to_training_set(trainer: BaseTrainer) -> None:
    """Let a file's answers join each training set that the trainer builds; nothing without such a file."""
    recorded, build = recorded_of(trainer), trainer.build_dataset
    if recorded is None:
        return
    readers = _readers_of(trainer)

    def build_dataset(img_path: Any, mode: str = "train", batch: int | None = None) -> Any:
        dataset = build(img_path, mode, batch)
        if mode == "train" and not trainer.distill.unlabeled_only:  # else it stands in for one
            join(dataset, recorded, readers)
        return dataset

    trainer.build_dataset = build_dataset


def add_to_unlabeled_set(trainer: BaseTrainer, dataset: Any) -> Any:
    """Let a file's answers join a set of unlabelled images, each of which must have some; return the set."""
    recorded = recorded_of(trainer)
    if recorded is not None:
        join(dataset, recorded, _readers_of(trainer), kind="unlabelled")
    return dataset


def require_answers(trainer: BaseTrainer) -> None:
    """Raise a ValueError where a file's answers are not in the trainer's own training set."""
    recorded = recorded_of(trainer)
    if recorded is not None and not isinstance(getattr(trainer.train_loader.dataset, "answers", None), DatasetAnswers):
        raise ValueError(
            f"'model_t={recorded.path}' cannot travel with a {type(trainer.train_loader.dataset).__name__} that the "
            f"trainer's own get_dataloader builds; build it with trainer.build_dataset, or give the model."
        )


def recorded_of(trainer: BaseTrainer) -> Recorded | None:
    """Return the file of answers among a trainer's teachers."""
    return next((s.module for s in trainer.distill.sources if isinstance(s.module, Recorded)), None)


def _readers_of(trainer: BaseTrainer) -> list[FinalBoxes]:
    """Return what reads a file's answers: one for each term on final boxes, and one for all others."""
    return [m for m in trainer.distill.step.distiller.modules() if getattr(m, "recorded", False)]


def join(dataset: Any, recorded: Recorded, readers: Sequence[FinalBoxes], kind: str = "training") -> DatasetAnswers:
    """Check answers against a set of `training` or `unlabelled` images, which is changed, and let them join it.

    The readers say which classes are compared, from which score, and what beside boxes. Answers of other data are a
    ValueError.
    """
    table, name, files = recorded.table, f"'model_t={recorded.path}'", dataset.im_files
    try:
        found = find_images(files, table.images)
    except ValueError as e:
        raise ValueError(f"{name} {e}.") from None
    missing = int((found < 0).sum())
    if missing == len(files):
        raise ValueError(
            f"{name} knows none of the {len(files)} {kind} images, such as '{files[0]}', but {len(table.images)} "
            f"others, such as '{table.images[0]}'; give the answers for this data."
        )
    if missing and kind == "unlabelled":
        raise ValueError(
            f"{name} has no answers for {missing} of the {len(files)} unlabelled images, such as "
            f"'{files[int((found < 0).argmax())]}'; write them with 'python distill.py answers', or leave them out."
        )
    over = len(table.images) - len(files) + missing
    if RANK in {-1, 0}:
        say = LOGGER.warning if missing else LOGGER.info
        say(
            f"Distillation: {recorded.path.name} has answers for {len(files) - missing} of {len(files)} {kind} images"
            f"{f', {missing} are taught by their labels alone' if missing else ''}"
            f"{f'; {over} images of the file are not among them' if over else ''}"
        )
    first, extra = readers[0], max(r.extra.name for r in readers)
    table = _in_shares(dataset, recorded, found).for_classes(first.classes, min(r.conf for r in readers))
    return DatasetAnswers(dataset, table, found, first.count, extra)


def _in_shares(dataset: Any, recorded: Recorded, found: np.ndarray) -> Table:
    """Return a table in shares of its images' sides; raise where the data's images have other shapes."""
    table, shapes = recorded.table, np.ones_like(recorded.table.shapes)
    known = np.asarray((table.shapes > 0).all(1))
    at = np.flatnonzero(found >= 0)
    for i in at if not known.all() or "shape" in dataset.labels[0] else []:
        image, shape = found[i], dataset.labels[i].get("shape") or _shape(dataset.im_files[i])
        if not known[image]:
            shapes[image] = shape
        elif tuple(table.shapes[image]) != tuple(shape):
            raise ValueError(
                f"'model_t={recorded.path}' is of other images: '{dataset.im_files[i]}' has {shape[0]}x{shape[1]} "
                f"pixels, in the file {table.shapes[image][0]}x{table.shapes[image][1]}; give the answers for this "
                f"data."
            )
    if known.all():
        return table
    table = table.divided(shapes[:, ::-1].astype(np.float32))
    unknown = np.ones(len(known), bool)
    unknown[found[at]] = False  # boxes of images that are not in the data stay in pixels
    table.require_inside(unknown.repeat(np.diff(table.first)), f"'model_t={recorded.path}' ")
    return table


def _shape(file: str) -> tuple[int, int]:
    """Return height and width of an image."""
    with Image.open(file) as image:
        width, height = exif_size(image)
    return height, width
