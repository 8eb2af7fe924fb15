"""Held against stock Ultralytics, unpatched, on another path."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from short_run import options

import ultralytics
from patching import Repo
from patching.series import read_pin
from patching.wheel import obtain, read_wheel
from ultralytics import YOLO

ROOT = Path(__file__).resolve().parents[2]
VERSION = ultralytics.__version__.partition("+")[0]


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """A folder with the pristine upstream tree, from the wheel of the running one."""
    folder = tmp_path_factory.mktemp("stock")
    ignore = shutil.ignore_patterns("distill", "__pycache__", ".patchset.json")  # as if it were a user's own
    shutil.copytree(Path(ultralytics.__file__).parent, folder / "ultralytics", ignore=ignore)
    repo = Repo(ROOT)
    for path, data in read_wheel(obtain(repo, read_pin(repo), VERSION))[0].items():
        if (folder / path).is_file():
            (folder / path).write_bytes(data)
    assert "distill.1" not in (folder / "ultralytics/__init__.py").read_text()
    return folder


def run_in(folder, code, *args):
    """Run Python code against the package in a folder; return what it prints last, read as JSON."""
    env = {**os.environ, "PYTHONPATH": str(folder)}
    line = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(line, capture_output=True, text=True, env=env, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


TRAIN = """
import hashlib, json, sys
import numpy as np
import ultralytics
from ultralytics import YOLO
student, args, last, data, folder, *paths = sys.argv[1:]
model = YOLO(student)
model.train(**json.loads(args))
state = YOLO(last).model.state_dict()
digest = hashlib.sha256(b"".join(v.contiguous().numpy().tobytes() for v in state.values())).hexdigest()
said = {"version": ultralytics.__version__, "digest": digest, "ours": hasattr(ultralytics, "distill"), "used": []}
image = np.full((64, 64, 3), 120, np.uint8)
for path in paths:
    model = YOLO(path)
    model.predict(image, imgsz=64, verbose=False)
    used = {"class": type(model.model).__name__}
    used["map"] = float(model.val(data=data, imgsz=64, batch=4, plots=False, project=folder, name="val").box.map)
    used["export"] = str(YOLO(path).export(format="torchscript", imgsz=64))
    tuned = YOLO(path)
    tuned.train(data=data, imgsz=64, batch=4, epochs=1, plots=False, val=False, project=folder, name="tune", workers=0)
    used["tuned"] = str(tuned.trainer.last)
    said["used"].append(used)
print(json.dumps(said))
"""


def train_plainly(folder, student_yaml, data_yaml, place, *checkpoints):
    """Train without a teacher with the package of a folder, then use checkpoints; return what was found."""
    args = options(data_yaml, place, optimizer="SGD", nbs=4, val=True)
    args = {k: v for k, v in args.items() if "distill" not in k}  # which stock does not know
    line = (student_yaml, json.dumps(args), place / "run/weights/last.pt", data_yaml, place / "used", *checkpoints)
    return run_in(folder, TRAIN, *line)


@pytest.fixture(scope="module")
def checkpoints(data_yaml, teacher_pt, student_yaml, tmp_path_factory):
    """`best.pt` of a distilled run, and its `last.pt` as an interruption would have left it."""
    folder, model = tmp_path_factory.mktemp("distilled"), YOLO(student_yaml)
    interrupted = folder / "interrupted.pt"
    model.add_callback("on_model_save", lambda trainer: shutil.copy(trainer.last, interrupted))
    model.train(**options(data_yaml, folder, model_t=str(teacher_pt), val=True))
    assert "distill" in torch.load(interrupted, weights_only=False)
    return folder / "run/weights/best.pt", interrupted


def test_against_stock(stock, checkpoints, data_yaml, student_yaml, tmp_path):
    """Without `model_t` the patched tree trains the very weights that stock trains; stock can use our checkpoints.

    `best.pt`, and the `last.pt` of an interrupted run, load, predict, validate, export and fine-tune.
    """
    theirs = train_plainly(stock, student_yaml, data_yaml, tmp_path / "stock", *checkpoints)
    ours = train_plainly(Path(ultralytics.__file__).parents[1], student_yaml, data_yaml, tmp_path / "fork")
    assert theirs["version"] == VERSION and ours["version"].startswith(f"{VERSION}+distill") and not theirs["ours"]
    assert theirs["digest"] == ours["digest"]
    assert len(theirs["used"]) == 2
    for used in theirs["used"]:
        assert used["class"] == "DetectionModel" and Path(used["export"]).exists() and Path(used["tuned"]).exists()
