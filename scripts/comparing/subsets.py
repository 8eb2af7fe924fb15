"""Shares of the labels: which images a run sees with their labels, as lists and links in the folder of the runs.

Each seed draws its own subset, all methods and teachers of a seed the same one, and a smaller share lies within a
larger one. So the interval over the seeds is also one over subsets; with one fixed subset it would hold for that one.

All runs of a comparison take as many steps. A short list is repeated until an epoch is as long as one of all images, so
that epochs, warmup and the end of mosaic stay what they are; where a list is longer, as with pseudo-labels of more
images, there are fewer epochs.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparing.run import PSEUDO, REST, Run
from ultralytics.cfg import get_cfg
from ultralytics.data.utils import check_det_dataset, img2label_paths
from ultralytics.distill.image_files import find
from ultralytics.distill.runtime.checkpoints import write_whole
from ultralytics.distill.upstream import load_yaml, save_yaml

PER_EPOCH = {"close_mosaic": int, "warmup_epochs": float}  # arguments in epochs that follow the number of epochs


def draw(count: int, share: float, seed: int) -> list[int]:
    """Return the indices of a subset, at least one; those of a smaller share are the first of a larger one's."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order[: max(1, round(share * count))]


def lengthen(listed: int, total: int, batch: int, labelled: int, epochs: int) -> tuple[int, int]:
    """Return how long a list has to be and how many epochs it takes for as many steps as all images take.

    Of `total` images `listed` have labels, or pseudo-labels; `labelled` images of each batch are from that list.
    """
    length = max(listed, math.ceil(total * labelled / batch))
    return length, max(1, round(epochs * math.ceil(total / batch) / math.ceil(length / labelled)))


def names_unlabeled(data: Any) -> bool:
    """Whether a data YAML names images without labels, which every run with a teacher would take."""
    return str(data).endswith((".yaml", ".yml")) and Path(data).is_file() and "unlabeled" in load_yaml(data)


class Subsets:
    """The subsets of the command line's data set, for the training arguments of all runs.

    Raises:
        ValueError: If the data has no label files, or an argument does not go with subsets.
    """

    def __init__(self, options: argparse.Namespace, given: dict[str, Any]):
        """Find the images."""
        args = get_cfg(overrides=given)
        self.batch, self.epochs = args.batch, args.epochs
        if not isinstance(self.batch, int) or self.batch < 1:
            raise ValueError(f"'--args batch={self.batch}' does not go with --labels; give the number of images.")
        if given.get("fraction", 1.0) != 1.0:
            raise ValueError(f"'--args fraction={given['fraction']}' does not go with --labels; leave it out.")
        if given.get("time"):
            raise ValueError(f"'--args time={given['time']}' does not go with --labels; give epochs.")
        file = Path(options.data)
        if file.suffix not in {".yaml", ".yml"}:
            raise ValueError(f"'--data {file}' does not go with --labels; give a YAML of images with label files.")
        self.facts = check_det_dataset(str(file))
        self.keys = {k: v for k, v in load_yaml(self.facts["yaml_file"]).items() if k not in {"path", "download"}}
        self.named = names_unlabeled(file)
        self.images = files(self.facts["train"])
        self.labels = [Path(x) for x in img2label_paths([str(x) for x in self.images])]
        if not any(x.is_file() for x in self.labels):
            raise ValueError(f"'--data {file}' has no label files beside its images; --labels needs them.")
        self.more = files([*options.unlabeled, *self._own()])
        code = hashlib.sha256(_lines([file.resolve(), *self.images, "", *self.more])).hexdigest()[:8]
        self.root = options.runs / f"labels-{code}"

    def _own(self) -> list[str]:
        """Return where the data set keeps images without labels: its `unlabeled` key, else a folder beside `train`."""
        if found := self.keys.pop("unlabeled", None):
            root = Path(self.facts["path"])
            return [str(root / x) for x in (found if isinstance(found, list) else [found])]
        train = self.facts["train"]
        beside = [Path(x).parent / "unlabeled" for x in (train if isinstance(train, list) else [train])]
        return [str(x) for x in dict.fromkeys(beside) if x.is_dir() and any(x.iterdir())]

    def write(self, share: float, seed: int) -> Path:
        """Write a subset's folder: links to its images with copies of their labels, and links to the rest without.

        The run's seed draws it. The folder has `plain.yaml` to train on and `rest.txt`.
        """
        folder = self.root / f"{share:g}-seed{seed}"
        if (folder / "rest.txt").is_file():  # written last
            return folder
        chosen = draw(len(self.images), share, seed)
        others = sorted(set(range(len(self.images))) - set(chosen))
        listed = [_place(self.images[i], folder / "train", i) for i in chosen]
        for i, image in zip(chosen, listed):
            if self.labels[i].is_file():
                shutil.copyfile(self.labels[i], label_of(image))
        rest = [_place(self.images[i], folder / REST, i) for i in others]
        rest += [_place(x, folder / REST, len(self.images) + i) for i, x in enumerate(self.more)]
        self._data(folder, "plain", listed, lengthen(len(listed), len(self.images), self.batch, self.batch, 1)[0])
        write_whole(folder / "listed.txt", _lines(listed))
        write_whole(folder / "rest.txt", _lines(rest))
        return folder

    def has_rest(self, run: Run) -> bool:
        """Whether there are images whose labels a run does not see."""
        return bool(self.more) or len(draw(len(self.images), run.labels, run.seed)) < len(self.images)

    def arguments(self, run: Run, args: dict[str, Any], sha: str) -> dict[str, Any]:
        """Return what a share of the labels changes in a run's arguments; nothing for all labels and no other images.

        Pseudo-labels are kept by the teacher's sha256.
        """
        if not run.is_subset and not self.named:
            return {}
        changed: dict[str, Any] = {}
        folder, kind = self.write(run.labels, run.seed), "plain"
        listed, labelled = read(folder / "listed.txt"), self.batch
        if run.uses_rest and not run.is_pseudo:
            kind, labelled = "unlabeled", self.batch - round(self.batch * float(args.get("unlabeled_share", 0.5)))
            changed["unlabeled"] = str(folder / "rest.txt")
        elif run.is_pseudo:
            kind = f"{PSEUDO}-{sha}"
            listed += [str(folder / kind / "images" / Path(x).name) for x in read(folder / "rest.txt")]
        length, epochs = lengthen(len(listed), len(self.images), self.batch, max(labelled, 1), self.epochs)
        changed["data"] = str(self._data(folder, kind, listed, length))
        if epochs != self.epochs:
            usual = vars(get_cfg(overrides=args))
            later = {k: t(round(usual[k] * epochs / self.epochs, 2)) for k, t in PER_EPOCH.items()}
            changed.update(epochs=epochs, **later)
        return changed

    def _data(self, folder: Path, name: str, listed: Sequence[Any], length: int) -> Path:
        """Write a list of images, repeated up to a length, and the data's YAML for it."""
        file = folder / f"{name}.yaml"
        if not file.is_file():
            repeated = [listed[i % len(listed)] for i in range(length)]
            write_whole(file.with_suffix(".txt"), _lines(repeated))
            splits = {k: self.facts[k] for k in ("val", "test") if self.facts.get(k)}
            save_yaml(file, {**self.keys, **splits, "train": str(file.with_suffix(".txt"))})
        return file


def files(places: str | Sequence[str]) -> list[Path]:
    """Return the images in folders, lists of files and globs, sorted.

    Raises:
        ValueError: If a place leads to none.
    """
    found: set[Path] = set()
    for place in [places] if isinstance(places, str) else places:
        try:
            found.update(Path(x).absolute() for x in find(place) if Path(x).is_file())
        except FileNotFoundError:
            raise ValueError(f"'{place}' leads to no image; give a folder, a .txt list or a glob.") from None
    return sorted(found)


def read(file: Path) -> list[str]:
    """Return the lines of a list."""
    return [x.strip() for x in file.read_text(encoding="utf-8").splitlines() if x.strip()]


def label_of(image: Path) -> Path:
    """Return the label file of an image in a subset's folder."""
    return image.parent.parent / "labels" / f"{image.stem}.txt"


def _lines(paths: Sequence[Any]) -> bytes:
    """Return a list as a file's content."""
    return "".join(f"{p}\n" for p in paths).encode()


def _place(image: Path, folder: Path, number: int) -> Path:
    """Link an image into `images` of a folder; `labels` is made beside.

    The number keeps images of one name in several folders apart.
    """
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return link(image, folder / "images" / f"{number:06d}-{image.name}")


def link(image: Path, place: Path) -> Path:
    """Link an image, or copy it where links are not allowed, and return its place."""
    if not place.exists():
        try:
            place.symlink_to(image)
        except OSError:  # Windows without the right, or a disk without links
            shutil.copyfile(image, place)
    return place
