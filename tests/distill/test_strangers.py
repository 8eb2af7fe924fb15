# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Checkpoints from strangers: upstream's safe loading holds for teachers and for resume, and nothing is weaker."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lines import needs_84
from short_run import options

import ultralytics.distill
from ultralytics import YOLO
from ultralytics.distill.upstream import load_checkpoint

TRY = """
import json, sys
from ultralytics import YOLO
from ultralytics.distill.upstream import load_checkpoint
last, bad, whole, line = *sys.argv[1:4], json.loads(sys.argv[4])
student = line.pop("model")
said = {}
for name, attempt in {
    "upstream": lambda: load_checkpoint(bad),
    "teacher": lambda: YOLO(student).train(model_t=bad, **line),
    "module": lambda: YOLO(student).train(model_t=whole, **line),
}.items():
    try:
        attempt()
    except Exception as e:
        said[name] = [type(e).__name__, str(e)]
model = YOLO(last)
model.train(resume=True)
said["epochs"] = model.trainer.epoch + 1
print(json.dumps(said))
"""


class Trap:
    """Unpickles as a call that leaves a trace."""

    def __init__(self, path: Path):
        """Keep where."""
        self.path = path

    def __reduce__(self):
        """Say how to build it again."""
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def stopped(data_yaml, teacher_pt, student_yaml, tmp_path_factory):
    """The `last.pt` of a run that waits to be resumed: aligns, generators, slots and an online teacher in it."""
    model, folder = YOLO(student_yaml), tmp_path_factory.mktemp("stopped")

    def stop(trainer):
        raise InterruptedError

    model.add_callback("on_model_save", stop)
    more = {"model_t": str(teacher_pt), "distill_feat": "[cwd,mgd]", "distill_online": True, "epochs": 2, "nbs": 4}
    with pytest.raises(InterruptedError):
        model.train(**options(data_yaml, folder, **more))
    return shutil.copy(folder / "run/weights/last.pt", folder / "stopped.pt")  # a run that goes on writes over its own


@pytest.fixture
def interrupted(stopped, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copy(stopped, tmp_path / "last.pt")


@needs_84("does not know ULTRALYTICS_SAFE_LOAD")
def test_safe_loading(interrupted, data_yaml, teacher_pt, student_yaml, tmp_path):
    """With the flag our own `last.pt` resumes; a trapped teacher, or module, is refused as upstream refuses it."""
    bad, trace = tmp_path / "bad.pt", tmp_path / "trace"
    torch.save({**torch.load(teacher_pt, weights_only=False), "extra": Trap(trace)}, bad)
    torch.save(Trap(trace), tmp_path / "whole.pt")
    line = options(data_yaml, tmp_path / "other", model=str(student_yaml))
    code = [sys.executable, "-c", TRY, *map(str, (interrupted, bad, tmp_path / "whole.pt")), json.dumps(line)]
    root = str(Path(ultralytics.__file__).parents[1])
    env = {**os.environ, "ULTRALYTICS_SAFE_LOAD": "1", "PYTHONPATH": root}
    done = subprocess.run(code, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["epochs"] == 2
    assert said["upstream"][0] == "TypeError" and "outside the supported Ultralytics checkpoint format" in done.stdout
    reason = said["upstream"][1].splitlines()[0].rstrip(".")
    assert said["teacher"] == ["ValueError", f"'model_t={bad}' cannot be read as an Ultralytics checkpoint ({reason}); "
                               f"give a trained model (.pt)."]  # fmt: skip
    assert said["module"][0] == "ValueError" and "whole.pt' cannot be read as an Ultralytics" in said["module"][1]
    assert not trace.exists() and not (tmp_path / "other").exists()


def test_the_trap_is_one(teacher_pt, tmp_path):
    """Without the flag upstream does run such a file: the test above would see it."""
    torch.save({**torch.load(teacher_pt, weights_only=False), "extra": Trap(tmp_path / "trace")}, tmp_path / "bad.pt")
    load_checkpoint(tmp_path / "bad.pt")
    assert (tmp_path / "trace").exists()


def test_no_class_of_ours_is_pickled(interrupted):
    """`last.pt` needs nothing from our package to be unpickled."""
    needed = torch.serialization.get_unsafe_globals_in_checkpoint(interrupted)
    assert needed and not [name for name in needed if "distill" in name]


@pytest.mark.parametrize("argument", [f"distill_{x}" for x in ("feat", "logit", "rel", "module", "schedule")])
def test_a_checkpoints_arguments_build_nothing(argument, interrupted, tmp_path):
    """Arguments come with the checkpoint on resume: a class named there that is no module is not built."""
    ckpt = torch.load(interrupted, weights_only=False)
    ckpt["train_args"][argument] = f"subprocess:Popen(args='mkdir {tmp_path}/trace', shell=True)"
    torch.save(ckpt, interrupted)
    with pytest.raises(ValueError, match=f"'{argument}=subprocess:Popen' is a class that cannot be used here"):
        YOLO(interrupted).train(resume=True)
    assert not (tmp_path / "trace").exists()


def test_our_package_reads_no_file_by_itself():
    """Without the flag nothing is weaker than upstream: every file goes through its own loaders, but for one.

    That one reads a teacher that is no Ultralytics model, which upstream would load as well before it complained.
    """
    folder, calls = Path(ultralytics.distill.__file__).parent, []
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                plain = "YAML" in name or name.startswith("json.")  # upstream's own, or nothing but values
                plain = plain or name == "image.load"  # pixels of a picture that Pillow has opened
                if name.split(".")[-1] in {"load", "loads", "torch_load"} and not plain:
                    calls.append((path.name, name))
    assert calls == [("foreign.py", "torch_load")]
