# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Training without any labels: the data set's YAML has classes, perhaps a validation set, and no training images."""

from __future__ import annotations

import shutil
import tempfile
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ultralytics.distill.image_files import find, is_whole, root_of
from ultralytics.distill.upstream import clears_folder, load_yaml, save_yaml
from ultralytics.distill.values import refuse
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.checks import check_file

if TYPE_CHECKING:
    from ultralytics.distill.base import BaseDistiller
    from ultralytics.distill.config import Config
    from ultralytics.engine.trainer import BaseTrainer

FILE = "data.yaml"  # in the results folder: the data set as upstream can read it
MARK = "labeled"  # key of that file, False there
FOLDER = "stand_in"  # in the results folder: images in place of a validation set
COUNT = 4


class UnlabeledOnly:
    """A data set without labelled images, completed so that upstream can read it.

    Upstream builds its loaders from `train` and `val`, and looks into no image of `train` here: the unlabelled ones
    take their place. Without `val` a few unlabelled images stand in for it, whose scores say nothing.

    Args:
        data (str): The run's `data`.
        raw (dict): What its YAML holds.
        task (str): The run's task.
        folder (Path): The results folder.

    Attributes:
        validates (bool): Whether there is a validation set.
        path (str): Where the completed YAML is written.

    Raises:
        ValueError: If there is no validation set and the task cannot do without.
    """

    def __init__(self, data: str, raw: dict[str, Any], task: str, folder: Path):
        """Keep where things are; nothing is written yet."""
        self.given, self.raw = data, raw
        self.validates = bool(raw.get("val"))
        if not self.validates and task in {"semantic", "depth"}:
            raise ValueError(
                f"'data={data}' has no validation set, which 'task={task}' cannot do without; add a 'val:'."
            )
        self.scratch = None if RANK in {-1, 0} else tempfile.TemporaryDirectory()  # the results folder is the first's
        self.folder = Path(self.scratch.name) if self.scratch else folder
        self.made = False
        self.path = data if MARK in raw else str(self.folder / FILE)

    def follow(self, trainer: BaseTrainer, value: Any) -> None:
        """Let the trainer read the completed data set."""
        read = trainer.get_dataset
        trainer.args.data = self.path

        def get_dataset() -> Any:
            if self.path != self.given:
                self.write(value)
            data = read()
            if clears_folder(trainer):  # its processes begin with what was given
                trainer.args.data = self.given
            return data

        trainer.get_dataset = get_dataset
        trainer.plot_training_labels = lambda: None  # there are none

    def write(self, value: Any) -> None:
        """Write the completed YAML, and the images that stand in for a validation set."""
        root = root_of(self.raw, check_file(self.given))
        split = self.raw.get("val") or self._stand_in(find(value) if value else find(self.raw["unlabeled"], root))
        self.folder.mkdir(parents=True, exist_ok=True)
        save_yaml(self.path, {**self.raw, "path": str(root), "train": split, "val": split, MARK: False})

    def put_back(self) -> None:
        """Remove the images that stand in, where a run that never began has put them."""
        if self.made:
            shutil.rmtree(self.folder / FOLDER, ignore_errors=True)

    def _stand_in(self, files: list[str]) -> str:
        """Copy a few images, each with an empty label file, and return their folder."""
        self.made = not (self.folder / FOLDER).exists()
        images, labels = self.folder / FOLDER / "images", self.folder / FOLDER / "labels"
        for folder in (images, labels):
            folder.mkdir(parents=True, exist_ok=True)
        for i, file in enumerate(islice(filter(is_whole, files), COUNT)):
            shutil.copyfile(file, images / f"{i}{Path(file).suffix}")
            (labels / f"{i}.txt").touch()
        return str(images)

    def say(self) -> None:
        """Say what there is no score of."""
        if not self.validates and RANK in {-1, 0}:
            LOGGER.warning(
                f"'data={self.given}' has no validation set: the accuracies shown are those on {COUNT} images without "
                f"labels and say nothing, best.pt is the last epoch's, and the teacher is not measured."
            )


def read_unlabeled_only(args: SimpleNamespace, folder: Path) -> UnlabeledOnly | None:
    """Return the data set if it has no labelled images; None where it has, or is no YAML, or no images are given."""
    if args.task == "classify":
        if args.unlabeled and Path(str(args.data)).is_dir() and not Path(args.data, "train").is_dir():
            raise ValueError(
                f"'data={args.data}' has no folder 'train', whose folders name the classes; 'unlabeled' needs at least "
                f"one labelled image of each."
            )
        return None
    file = check_file(str(args.data), hard=False) if str(args.data).endswith((".yaml", ".yml")) else ""
    raw = load_yaml(file) if isinstance(file, str) and file else {}
    if not (args.unlabeled or raw.get("unlabeled")) or (raw.get("train") and raw.get(MARK) is not False):
        return None
    return UnlabeledOnly(str(args.data), raw, args.task, folder)


def require_no_labels(distiller: BaseDistiller, config: Config) -> None:
    """Raise a ValueError that names what cannot do without any label."""
    wants = [t.name for t in distiller.modules() if getattr(t, "labelled_only", False)]
    losses = [(t, x) for t in getattr(distiller, "terms", ()) for x in t.losses]
    mixes = any(getattr(t, "needs_targets", False) or (getattr(x, "final", False) and x.alpha < 1) for t, x in losses)
    reasons = {
        "'distill_online=True' trains the teacher on labels": config.online,
        "'distill_balance' weighs the terms by the task loss": config.balance is not None,
        f"'distill_stop={config.stop}' leaves nothing to learn in the last epochs": config.stop,
        f"the term '{wants[0] if wants else ''}' reads labels": wants,
        f"'distill_alpha={config.alpha}' mixes labels with the teacher's scores": mixes,
    }
    refuse({f"{k}, and 'data' has no labelled image; leave it out, or add some.": v for k, v in reasons.items()})
