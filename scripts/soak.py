# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A long run on a handful of images: does anything pile up?

    OMP_NUM_THREADS=1 python scripts/soak.py --folder runs/soak

The same student trains twice, alone and with a teacher, each in a process of its own. Every 20th epoch has another
batch size or another image size. After each epoch live tensors, hooks and open files are counted and the memory of the
process is read; the table says whether memory grows otherwise than in plain training.
"""

from __future__ import annotations

import argparse
import gc
import logging
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
import torch.nn.functional as F
from scipy.stats import linregress, t
from torch import nn

import tables
from demo import prepare
from matrices.cell import write_teacher
from ultralytics import YOLO
from ultralytics.distill.upstream import load_yaml
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOGGER

WAYS = ("plain", "distilled")
COUNTS = {"tensors": "live tensors", "hooks": "hooks", "files": "open files"}
MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def uneven_trainer(every: int) -> type[DetectionTrainer]:
    """Return a trainer whose every so many-th epoch has half the batch, or in turn images half as large again."""

    class UnevenTrainer(DetectionTrainer):
        """Upstream's trainer with an odd epoch now and then."""

        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            """Prepare a batch as upstream does, then change its size where it is an odd epoch's."""
            batch = super().preprocess_batch(batch)
            turn, rest = divmod(self.epoch + 1, every)
            if rest:
                return batch
            if turn % 2:
                half = math.ceil(len(batch["img"]) / 2)
                kept = batch["batch_idx"] < half
                objects = {k: batch[k][kept] for k in ("batch_idx", "cls", "bboxes")}
                return {**batch, **objects, "img": batch["img"][:half].clone()}
            size = [math.ceil(1.5 * n / 32) * 32 for n in batch["img"].shape[2:]]
            return {**batch, "img": F.interpolate(batch["img"], size, mode="bilinear")}

    return UnevenTrainer


def census() -> dict[str, float]:
    """Count what is alive in this process.

    Returns:
        (dict[str, float]): Number of tensors that Python holds, of hooks on modules and tensors, and of open files, and
            `memory`, the process's resident memory in MiB.
    """
    gc.collect()
    alive = gc.get_objects()
    modules = [x for x in alive if issubclass(type(x), nn.Module)]
    tensors = [x for x in alive if issubclass(type(x), torch.Tensor)]
    process = psutil.Process()
    files = process.num_fds() if hasattr(process, "num_fds") else len(process.open_files())
    hooks = sum(len(vars(m).get(name) or ()) for m in modules for name in MODULE_HOOKS)
    hooks += sum(len(x._backward_hooks or ()) for x in tensors if x.is_leaf)
    return {"tensors": len(tensors), "hooks": hooks, "files": files, "memory": process.memory_info().rss / 2**20}


def run(folder: Path, name: str, epochs: int, every: int, **arguments: Any) -> list[dict[str, float]]:
    """Train on eight drawn images, every so many-th epoch an odd one, and return the `census` after each epoch."""
    data, found = prepare(folder, 64, train=8, val=4), []
    model = YOLO(folder / "student.yaml")

    def count(trainer: BaseTrainer) -> None:
        found.append(census())

    model.add_callback("on_fit_epoch_end", count)
    fixed = {"imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False, "patience": 0, "seed": 0}
    place = {"project": str(folder), "name": name, "exist_ok": True}
    model.train(trainer=uneven_trainer(every), data=data, epochs=epochs, **fixed, **place, **arguments)
    return found[:epochs]  # the final validation calls once more


def make_teacher(folder: Path) -> Path:
    """Write a checkpoint of the drawn set's wider model."""
    names = load_yaml(prepare(folder, 64, train=8, val=4))["names"]
    return write_teacher(str(folder / "teacher.yaml"), names, folder / "teacher.pt", 64)


def trend(values: list[float], every: int) -> tuple[float, float]:
    """Fit a line to the medians of as many epochs as lie between two odd ones, which are alike in what they hold.

    Returns:
        slope (float): Growth an epoch.
        error (float): Half the width of its 95 percent confidence interval.
    """
    ys = [median(values[i : i + every]) for i in range(0, len(values) - every + 1, every)]
    line = linregress([every * i for i in range(len(ys))], ys)
    return line.slope, t.ppf(0.975, len(ys) - 2) * line.stderr


def report(found: dict[str, list[dict[str, float]]], warm: int, every: int) -> tuple[str, bool]:
    """Return the table as Markdown, and whether nothing piles up."""
    rows, ok = [[f"after epoch {warm}", *WAYS]], True
    for key, label in COUNTS.items():
        seen = [sorted({int(x[key]) for x in found[way][warm:]}) for way in WAYS]
        ok = ok and len(seen[1]) == 1
        rows.append([label, *(" to ".join(str(v) for v in dict.fromkeys((s[0], s[-1]))) for s in seen)])
    slopes = [trend([x["memory"] * 1024 for x in found[way][warm:]], every) for way in WAYS]
    rows.append(["memory, KiB an epoch", *(f"{slope:+.1f} ± {error:.1f}" for slope, error in slopes)])
    gap, error = slopes[1][0] - slopes[0][0], math.hypot(slopes[0][1], slopes[1][1])
    says = f"Growth with a teacher minus growth without: {gap:+.1f} ± {error:.1f} KiB an epoch (95 percent)."
    return f"{tables.markdown(rows)}\n\n{says}", ok and gap <= error


def main() -> int:
    """Run both ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/soak"), help="where everything goes")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--every", type=int, default=20, help="every so many-th epoch is an odd one")
    parser.add_argument("--warm", type=int, default=40, help="epochs that are not judged")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    if (options.epochs - options.warm) // options.every < 6:
        parser.error(f"--epochs {options.epochs} is too short after --warm {options.warm}: give six times --every more")
    ways = {"plain": {}, "distilled": {"model_t": str(make_teacher(folder)), "distill_rel": "sp"}}
    found = {}
    for way, more in ways.items():
        with ProcessPoolExecutor(1, get_context("spawn"), LOGGER.setLevel, (logging.WARNING,)) as pool:
            found[way] = pool.submit(run, folder, way, options.epochs, options.every, **more).result()
    text, ok = report(found, options.warm, options.every)
    print(text)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
