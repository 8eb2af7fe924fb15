"""The texts of docs/: their code blocks, and a desk on which they run at a small size."""

import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from short_run import BASE

import ultralytics
from ultralytics.cfg import entrypoint
from ultralytics.engine.model import Model

DOCS = Path(__file__).resolve().parents[2] / "docs"
FLOWERS = {0: "daisy", 1: "rose", 2: "tulip"}


@dataclass
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    kind: str
    title: str
    text: str

    def __str__(self):
        """Name it in a test's id."""
        return f"{self.page}:{self.line}"


def blocks(page, kind=None):
    """Return the fenced blocks of a page, perhaps of one kind only."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.finditer(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
    all_ = [Block(page, text.count("\n", 0, m.start()) + 1, m[1], m[2] or "", m[3]) for m in found]
    return [b for b in all_ if kind in (None, b.kind)]


def lay_out(desk, pages, data_yaml, student_pt, teacher_pt, make_model):
    """Put what the pages name into a folder: models, data, and their own files."""
    for source, name in ((data_yaml, "my.yaml"), (student_pt, "yolov8n.pt"), (teacher_pt, "yolov8s.pt")):
        shutil.copy(source, desk / name)
    for name, width, seed in (("yolov8n-cls", 0.125, 1), ("yolov8s-cls", 0.25, 2)):
        model = make_model("yolov8n-cls.yaml", width=width, seed=seed, trained=True)
        model.names = FLOWERS
        torch.save({"epoch": -1, "model": model, "train_args": {"task": "classify"}}, desk / f"{name}.pt")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for i, name in FLOWERS.items():
            (desk / "flowers" / split / name).mkdir(parents=True)
            for j in range(count):
                image = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
                image[..., i] += 100
                cv2.imwrite(str(desk / "flowers" / split / name / f"{j}.png"), image)
    for block in (b for page in pages for b in blocks(page) if b.title):
        (desk / block.title).write_text(block.text)
    return desk


def at(desk, monkeypatch):
    """Sit down at a desk: its folder is the current one, and its files can be imported."""
    monkeypatch.chdir(desk)
    monkeypatch.syspath_prepend(str(desk))


def shorten(desk, monkeypatch):
    """Make every run short, in the folder that the pages name.

    Returns:
        (list): The trainers of the runs that follow.
    """
    train, trainers = Model.train, []

    def short(self, trainer=None, **arguments):
        if not arguments.get("resume"):
            size = {"imgsz": 64, "batch": 6} if self.task == "classify" else {}
            stop = min(int(arguments.get("distill_stop", 0)), 1)
            arguments = {**arguments, **BASE, **size, "distill_stop": stop, "epochs": stop + 1, "nbs": 4}
            arguments.update(project=str(desk / "runs" / self.task), exist_ok=True)
        try:
            return train(self, trainer, **arguments)
        finally:
            trainers.append(self.trainer)

    monkeypatch.setattr(Model, "train", short)
    return trainers


def run_python(text):
    """Run a block of Python."""
    exec(compile(text, "docs", "exec"), {"__name__": "docs"})


def run_command(text, monkeypatch):
    """Run the lines of a shell block, each a `yolo` command, in this process."""
    for line in text.splitlines():
        words = shlex.split(line)
        while re.match(r"[A-Z]+=", words[0]):
            assert words.pop(0) == "PYTHONPATH=."
        assert words[0] == "yolo"
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # a command line sets one of its own
        monkeypatch.setattr("ultralytics.cfg.ARGV", words)
        entrypoint("")


def environment(desk):
    """Return the environment of a process that imports the fork and the desk's files."""
    root = Path(ultralytics.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(desk), str(root)])}
