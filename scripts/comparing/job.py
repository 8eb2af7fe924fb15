"""One run of a comparison, in a process of its own: `python job.py JOB.json`.

A job builds and saves a seed's start weights, trains and validates one method from them, looks at a teacher, or lets
one label images.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
import zlib
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from comparing import rows
from comparing.subsets import label_of, link, read
from ultralytics import YOLO, __version__, utils
from ultralytics.distill.report.curves import read_columns
from ultralytics.distill.report.int8 import validate_int8
from ultralytics.distill.report.metrics import validate
from ultralytics.distill.runtime.checkpoints import save_whole, write_whole
from ultralytics.distill.runtime.errors import reason
from ultralytics.distill.runtime.open_model import open_model
from ultralytics.distill.script import command
from ultralytics.distill.teacher.evaluation import narrow
from ultralytics.distill.teacher.headroom import main_metric
from ultralytics.distill.upstream import load_checkpoint, unwrap_model

CONFIDENCE = 0.5  # of a box that becomes a label


class Prepared(Exception):
    """Ends a training before its first step: the start weights are saved."""


def save_start(job: dict[str, Any]) -> None:
    """Build the student as a plain training builds it for this data and seed, and save it."""
    model = open_model(job["model"])

    def keep(trainer: Any) -> None:
        student = deepcopy(unwrap_model(trainer.model)).cpu()
        student.args = dict(vars(trainer.args))
        facts = {"epoch": -1, "model": student, "ema": None, "train_args": dict(vars(trainer.args))}
        save_whole({**facts, "version": __version__}, job["start"])
        keys = [k for k in trainer.validator.metrics.keys if k.startswith("metrics/")]
        write_whole(Path(job["result"]), json.dumps({"metrics": keys}).encode())
        raise Prepared

    model.add_callback("on_pretrain_routine_end", keep)
    with tempfile.TemporaryDirectory() as folder:
        try:
            model.train(**job["train"], project=folder)
        except Prepared:
            pass


class Watch:
    """Gives every method the same images in the same order, and notes what each epoch saw and took.

    Upstream seeds once, and then every draw of a method (a mask, a projector's first weights) would change the images
    of all later steps. Here all generators are seeded anew before each batch is loaded, so that only seed, epoch and
    batch decide; a resumed run sees what the interrupted one would have seen, but for the mosaic's buffer.

    The run's notes go to a file, and it has to start from the saved weights. The `last` epochs are validated.
    """

    def __init__(self, file: Path, seed: int, start: Path, last: int = 0):
        """Read the notes of an interrupted run."""
        self.file, self.seed, self.start, self.last = file, seed, start, last
        self.notes: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {"epochs": {}, "resumed": 0}
        self.batch = self.code = 0
        self.began = (0.0, 0.0)

    def attach(self, model: YOLO) -> None:
        """Listen to a training."""
        for event in ("on_pretrain_routine_end", "on_train_epoch_start", "on_train_batch_end", "on_train_epoch_end"):
            model.add_callback(event, getattr(self, event[3:]))

    def pretrain_routine_end(self, trainer: Any) -> None:
        """Check the start weights, and see every batch on its way to the device."""
        module = unwrap_model(trainer.model)
        found = getattr(module, "student_model", module).state_dict()
        wanted = torch.load(self.start, map_location="cpu", weights_only=False)["model"].state_dict()
        if trainer.start_epoch:
            self.notes["resumed"] += 1
        elif found.keys() != wanted.keys() or not all(torch.equal(v.cpu(), wanted[k]) for k, v in found.items()):
            raise RuntimeError(f"This run does not start from the weights in {self.start}.")
        self.notes["formula"] = formula(trainer)
        preprocess = trainer.preprocess_batch

        def see(batch: dict[str, Any]) -> dict[str, Any]:
            names = "\n".join(Path(x).name for x in batch.get("im_file", ()))
            pixels = batch["img"].flatten()[::97].cpu().contiguous().numpy()
            self.code = zlib.crc32(pixels.tobytes(), zlib.crc32(names.encode(), self.code))
            return preprocess(batch)

        trainer.preprocess_batch = see

    def train_epoch_start(self, trainer: Any) -> None:
        """Draw the epoch's order, and load its first batch, from seed and epoch alone."""
        self.batch = self.code = 0
        trainer.args.val |= trainer.epoch >= trainer.epochs - self.last
        loader = trainer.train_loader
        if getattr(loader, "generator", None) is not None:
            loader.generator.manual_seed(self._number(trainer))
        loader.reset()  # workers have loaded ahead, with other seeds; and a new iterator draws a number
        self._seed(trainer)
        self.began = time.perf_counter(), time.process_time()

    def train_batch_end(self, trainer: Any) -> None:
        """Load the next batch from seed, epoch and its place alone."""
        self.batch += 1
        self._seed(trainer)

    def train_epoch_end(self, trainer: Any) -> None:
        """Note what the epoch saw, and how long it took without validation."""
        seconds = time.perf_counter() - self.began[0], time.process_time() - self.began[1]
        found = {"seen": self.code, "steps": self.batch, "seconds": seconds[0], "processor": seconds[1]}
        self.notes["epochs"][str(trainer.epoch)] = found
        write_whole(self.file, json.dumps(self.notes).encode())

    def _number(self, trainer: Any) -> int:
        """Return a number of seed, epoch and batch."""
        return zlib.crc32(f"{self.seed} {trainer.epoch} {self.batch}".encode())

    def _seed(self, trainer: Any) -> None:
        """Seed all generators."""
        number = self._number(trainer)
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)


def formula(trainer: Any) -> str:
    """Return what is added to the task loss, so that a later reader knows what `auto` meant."""
    if getattr(trainer.args, "distill_model", None) is not None:  # 8.3 has no such argument
        return f"{trainer.args.dis:g} x native"
    return trainer.distill.step.distiller.describe() if trainer.distill else ""


def run(job: dict[str, Any]) -> None:
    """Train, go on, or just validate, whichever is left to do, and write the result."""
    folder, start = Path(job["folder"]), Path(job["start"])
    last = folder / "weights" / "last.pt"
    watch = Watch(folder / "watch.json", job["train"]["seed"], start, 0 if job["train"]["val"] else job.get("last", 0))
    epoch = torch.load(last, map_location="cpu", weights_only=False)["epoch"] if last.is_file() else None
    if epoch != -1:  # not finished: a finished checkpoint says -1
        model = YOLO(last if epoch is not None else start)
        watch.attach(model)
        folder.mkdir(parents=True, exist_ok=True)
        here = {"project": str(folder.parent), "name": folder.name, "exist_ok": True}
        model.train(**({"resume": str(last)} if epoch is not None else {**job["train"], **here}))
    with tempfile.TemporaryDirectory() as scratch:  # upstream makes a folder even where nothing is saved
        args = {k: job["train"][k] for k in ("data", "imgsz", "batch", "device", "workers") if k in job["train"]}
        quiet = {"plots": False, "verbose": False, "project": scratch}
        found = YOLO(last).val(split=job["split"], **args, **quiet).results_dict
    notes = {**summary(watch.notes), **curve(folder, job), **score(folder, job), **exported(last, job)}
    write_whole(Path(job["result"]), json.dumps({**notes, **found}).encode())


def summary(notes: dict[str, Any]) -> dict[str, Any]:
    """Return a run's notes as columns; the time is that of the median epoch."""
    epochs = [notes["epochs"][k] for k in sorted(notes["epochs"], key=int)]
    commit = getattr(getattr(utils, "GIT", None), "commit", None)  # 8.3 does not tell
    later = epochs[1:] or epochs  # the first one chooses kernels and fills caches
    return {
        "epoch_seconds": round(float(np.median([e["seconds"] for e in later])), 3),
        "epoch_processor": round(float(np.median([e["processor"] for e in later])), 3),
        "seen": f"{zlib.crc32(json.dumps([e['seen'] for e in epochs]).encode()):08x}",
        "steps": sum(e.get("steps", 0) for e in epochs),
        "resumed": notes["resumed"],
        "formula": notes["formula"],
        "version": __version__ + (f" {commit[:8]}" if commit else ""),
        "torch": torch.__version__,
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
    }


def curve(folder: Path, job: dict[str, Any]) -> dict[str, str]:
    """Return each epoch's first metric where it was validated."""
    if not job["train"]["val"]:
        return {}
    return {"curve": " ".join(f"{v:.5g}" for v in read_columns(folder / "results.csv")[job["metric"]])}


def score(folder: Path, job: dict[str, Any]) -> dict[str, float]:
    """Return the median of the main metric over the last epochs, which were validated with the average weights."""
    if not job.get("last"):
        return {}
    return {"score": round(median(read_columns(folder / "results.csv")[job["main"]][-job["last"] :]), 6)}


def exported(weights: Path, job: dict[str, Any]) -> dict[str, float]:
    """Return the main metric of the weights' INT8 export, where it is asked for."""
    if not job.get("int8"):
        return {}
    train = job["train"]
    more = {k: train[k] for k in ("batch", "workers") if k in train}
    task, imgsz = YOLO(weights).task, train.get("imgsz", 640)
    found = validate_int8(weights, task, train["data"], imgsz, split=job["split"], **more)
    return {rows.INT8: found[str(main_metric(found))]}


def look(job: dict[str, Any]) -> None:
    """Validate a teacher as the students are, its classes in their order; why it cannot be is a result too."""
    try:
        found = validate(job["teacher"], load_checkpoint(job["start"])[0], **job["val"])[0].results_dict
    except Exception as e:  # other classes, another kind of head, or a file of answers
        found = {"error": reason(e)}
    write_whole(Path(job["result"]), json.dumps(found).encode())


def label(job: dict[str, Any]) -> None:
    """Write a teacher's confident predictions as label files beside links to the images.

    An image without any has an empty label file, and is background.

    Raises:
        ValueError: If the teacher does not know all of the student's classes.
    """
    model, images = YOLO(job["teacher"]), Path(job["images"])
    narrow(model.model, load_checkpoint(job["start"])[0].names)
    links = []
    for line in read(Path(job["rest"])):
        place = images / Path(line).name
        for folder in (images, label_of(place).parent):
            folder.mkdir(parents=True, exist_ok=True)
        label_of(place).write_text("")
        links.append(str(link(Path(line).resolve(), place)))
    count = 0
    with tempfile.TemporaryDirectory() as scratch:
        quiet = {"stream": True, "verbose": False, "save": False, "project": scratch}
        for found in model.predict(links, conf=CONFIDENCE, **quiet, **job["predict"]):
            found.save_txt(label_of(Path(found.path)))
            count += len(found)
    write_whole(Path(job["result"]), json.dumps({"images": len(links), "objects": count}).encode())


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    command.use_threads(given["threads"])
    {"start": save_start, "run": run, "look": look, "label": label}[given["do"]](given)
