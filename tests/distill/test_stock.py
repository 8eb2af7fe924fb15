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
import ultralytics
from ultralytics import YOLO
model = YOLO(sys.argv[1])
model.train(**json.loads(sys.argv[2]))
state = YOLO(sys.argv[3]).model.state_dict()
digest = hashlib.sha256(b"".join(v.contiguous().numpy().tobytes() for v in state.values())).hexdigest()
print(json.dumps([ultralytics.__version__, digest]))
"""

USE = """
import json, sys
import numpy as np
import ultralytics
from ultralytics import YOLO
data, folder, *paths = sys.argv[1:]
assert not hasattr(ultralytics, "distill")
image, found = np.full((64, 64, 3), 120, np.uint8), []
for path in paths:
    model = YOLO(path)
    said = {"version": ultralytics.__version__, "class": type(model.model).__name__}
    model.predict(image, imgsz=64, verbose=False)
    said["map"] = float(model.val(data=data, imgsz=64, batch=4, plots=False, project=folder, name="val").box.map)
    said["export"] = str(YOLO(path).export(format="torchscript", imgsz=64))
    tuned = YOLO(path)
    tuned.train(data=data, imgsz=64, batch=4, epochs=1, plots=False, val=False, project=folder, name="tune", workers=0)
    said["tuned"] = str(tuned.trainer.last)
    found.append(said)
print(json.dumps(found))
"""


def test_plain_training_is_bit_identical(stock, data_yaml, student_yaml, tmp_path):
    """Without `model_t` the patched tree trains the very weights that stock trains."""
    digests = {}
    for name, folder in (("stock", stock), ("fork", Path(ultralytics.__file__).parents[1])):
        args = options(data_yaml, tmp_path / name, optimizer="SGD", nbs=4, val=True)
        args = {k: v for k, v in args.items() if "distill" not in k}  # which stock does not know
        last = tmp_path / name / "run/weights/last.pt"
        version, digests[name] = run_in(folder, TRAIN, student_yaml, json.dumps(args), last)
        assert ("+distill" in version) == (name == "fork")
    assert digests["stock"] == digests["fork"]


def test_checkpoints_open_in_stock(stock, data_yaml, teacher_pt, student_yaml, tmp_path):
    """`best.pt`, and the `last.pt` of an interrupted run, load, predict, validate, export and fine-tune in stock."""
    model = YOLO(student_yaml)
    interrupted = tmp_path / "interrupted.pt"

    def keep(trainer):
        shutil.copy(trainer.last, interrupted)

    model.add_callback("on_model_save", keep)
    model.train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), val=True))
    assert "distill" in torch.load(interrupted, weights_only=False)
    found = run_in(stock, USE, data_yaml, tmp_path / "used", tmp_path / "run/weights/best.pt", interrupted)
    assert len(found) == 2
    for said in found:
        assert said["version"] == VERSION and said["class"] == "DetectionModel"
        assert Path(said["export"]).exists() and Path(said["tuned"]).exists()
