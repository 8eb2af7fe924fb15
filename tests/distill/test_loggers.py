# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The terms reach loggers through upstream's own callbacks, offline."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from doc_texts import environment
from short_run import options

SETUP = """
import sys, json
from ultralytics import YOLO, settings
chosen, model, arguments = json.loads(sys.argv[1])
settings.update({k: k == chosen for k in ("tensorboard", "wandb", "mlflow")})
"""
TERMS = ("train/dfea_loss", "train/dlogit_loss")


def start(action, logger, model, folder, arguments, **more):
    """Do something with one logger in a process that does not know of pytest, where upstream logs nothing."""
    env = {k: v for k, v in environment(folder).items() if not k.startswith("PYTEST")}
    env.update({"YOLO_CONFIG_DIR": str(folder / "config"), **more})
    env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], *(p for p in sys.path if p)])
    line = [sys.executable, "-c", SETUP + action, json.dumps([logger, str(model), arguments])]
    done = subprocess.run(line, env=env, cwd=folder, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]


def train(logger, model, folder, arguments, **more):
    """Train with one logger."""
    start("YOLO(model).train(**arguments)", logger, model, folder, arguments, **more)


def needs(module):
    """Skip a test where a logger is not installed."""
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


@pytest.fixture
def arguments(data_yaml, teacher_pt, tmp_path):
    """A short distilled run."""
    return options(data_yaml, tmp_path, model_t=str(teacher_pt))


@needs("tensorboard")
def test_tensorboard(arguments, student_yaml, tmp_path):
    """The event file has each term as a scalar of the epoch."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train("tensorboard", student_yaml, tmp_path, arguments)
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert set(TERMS) <= set(events.Tags()["scalars"])
    assert all(events.Scalars(name)[0].value > 0 for name in TERMS)


@pytest.mark.slow
@needs("wandb")
def test_wandb(arguments, student_yaml, tmp_path):
    """The offline run's record names each term."""
    train("wandb", student_yaml, tmp_path, arguments, WANDB_MODE="offline", WANDB_SILENT="true")
    (record,) = tmp_path.rglob("*.wandb")
    assert all(name.encode() in record.read_bytes() for name in TERMS)


@pytest.mark.slow
@needs("mlflow")
def test_mlflow(arguments, student_yaml, tmp_path):
    """The local store has each term."""
    store = {"MLFLOW_TRACKING_URI": (tmp_path / "store").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
    train("mlflow", student_yaml, tmp_path, arguments, **store)
    found = {"/".join(p.parts[-2:]) for p in (tmp_path / "store").rglob("*_loss")}
    assert set(TERMS) <= found


@pytest.mark.slow
def test_search(arguments, student_yaml, tmp_path):
    """Upstream's own search varies the gains and the temperature and finds a best set."""
    space = {"dfea": [0.1, 4.0], "dlogit": [0.1, 4.0], "distill_tau": [0.5, 4.0]}
    more = {"space": space, "iterations": 2, "distill_tau": 1.0}
    start("YOLO(model).tune(**arguments)", "", student_yaml, tmp_path, {**arguments, **more})
    (best,) = tmp_path.rglob("best_hyperparameters.yaml")
    assert all(f"{name}:" in best.read_text() for name in space)
