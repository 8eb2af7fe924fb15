# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A long run on a handful of images: does anything pile up?

    OMP_NUM_THREADS=1 python scripts/soak.py --folder runs/soak

The same student trains twice, alone and with a teacher, each in a process of its own. Every 20th epoch has another
batch size or another image size. After each epoch live tensors, hooks and open files are counted and the memory of the
process is read; `soak.png` shows the four curves, and the table says whether memory grows otherwise than in plain
training.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import math
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from torch import nn

from comparing.table import t95
from demo import prepare
from ultralytics import YOLO
from ultralytics.distill.upstream import load_yaml
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
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
    """Train on eight drawn images and count after each epoch.

    Args:
        folder (Path): Where data, models and the run go.
        name (str): The run's name there.
        epochs (int): Epochs.
        every (int): Every so many-th epoch is an odd one.
        **arguments (Any): More of upstream's arguments, `model_t` for one.

    Returns:
        (list[dict[str, float]]): What `census` found after each epoch.
    """
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
    model, file = DetectionModel(str(folder / "teacher.yaml"), nc=len(names), verbose=False), folder / "teacher.pt"
    model.names = names
    torch.save({"epoch": -1, "model": model.half(), "train_args": {"task": "detect", "imgsz": 64}, "ema": None}, file)
    return file


def trend(values: list[float], every: int) -> tuple[float, float]:
    """Fit a line to the medians of as many epochs as lie between two odd ones, which are alike in what they hold.

    Args:
        values (list[float]): One value an epoch, after warm-up.
        every (int): Epochs of a median.

    Returns:
        slope (float): Growth an epoch.
        error (float): Half the width of its 95 percent confidence interval.
    """
    ys = [median(values[i : i + every]) for i in range(0, len(values) - every + 1, every)]
    (slope, _), covariance = np.polyfit([every * i for i in range(len(ys))], ys, 1, cov=True)
    return slope, t95(len(ys) - 2) * math.sqrt(covariance[0, 0])


def report(found: dict[str, list[dict[str, float]]], warm: int, every: int) -> tuple[str, bool]:
    """Return the table as Markdown, and whether nothing piles up."""
    lines = [f"| after epoch {warm} | {' | '.join(WAYS)} |", "| --- | ---: | ---: |"]
    ok = True
    for key, label in COUNTS.items():
        seen = [sorted({int(x[key]) for x in found[way][warm:]}) for way in WAYS]
        ok = ok and len(seen[1]) == 1
        lines.append(f"| {label} | {' | '.join('to'.join(str(v) for v in {s[0], s[-1]}) for s in seen)} |")
    slopes = [trend([x["memory"] * 1024 for x in found[way][warm:]], every) for way in WAYS]
    lines.append(f"| memory, KiB an epoch | {' | '.join(f'{s:+.1f} ± {e:.1f}' for s, e in slopes)} |")
    gap, error = slopes[1][0] - slopes[0][0], math.hypot(slopes[0][1], slopes[1][1])
    lines.append(f"\nGrowth with a teacher minus growth without: {gap:+.1f} ± {error:.1f} KiB an epoch (95 percent).")
    return "\n".join(lines), ok and gap <= error


def draw(found: dict[str, list[dict[str, float]]], warm: int, file: Path) -> None:
    """Draw the curves of both runs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    fig, axes = plt.subplots(4, 1, figsize=(8, 8), sharex=True)
    for axis, (key, label) in zip(axes, {**COUNTS, "memory": "memory, MiB above\nend of warm-up"}.items()):
        for way, colour, width in zip(WAYS[::-1], ("#d1495b", "#57606a"), (3.0, 1.2)):  # thin on thick: both show
            start = found[way][warm]["memory"] if key == "memory" else 0
            values = [x[key] - start for x in found[way]]
            axis.plot(range(1, len(values) + 1), values, color=colour, label=way, lw=width)
        axis.axvline(warm, color="#c9d1d9", ls=":")
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
        if key != "memory":
            axis.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
            axis.margins(y=0.2)
    axes[0].legend(frameon=False, ncol=2, loc="center right")
    axes[-1].set_xlabel("epoch (dotted: end of warm-up)")
    fig.align_ylabels(axes)
    fig.tight_layout()
    fig.savefig(file, dpi=120)


def main() -> int:
    """Run both ways, print the table, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/soak"), help="where everything goes")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--every", type=int, default=20, help="every so many-th epoch is an odd one")
    parser.add_argument("--warm", type=int, default=40, help="epochs that are not judged")
    parser.add_argument("--way", choices=WAYS, help="run only this way, here, and write its counts")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    if (options.epochs - options.warm) // options.every < 6:
        parser.error(f"--epochs {options.epochs} is too short after --warm {options.warm}: give six times --every more")
    if options.way:
        LOGGER.setLevel(logging.WARNING)
        teacher = {"model_t": str(make_teacher(folder)), "distill_rel": "sp"} if options.way == "distilled" else {}
        counts = run(folder, options.way, options.epochs, options.every, **teacher)
        (folder / f"{options.way}.json").write_text(json.dumps(counts), encoding="utf-8")
        return 0
    for way in WAYS:
        subprocess.run([sys.executable, *sys.argv, "--way", way], check=True)
    found = {way: json.loads((folder / f"{way}.json").read_text(encoding="utf-8")) for way in WAYS}
    draw(found, options.warm, folder / "soak.png")
    text, ok = report(found, options.warm, options.every)
    print(text)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
