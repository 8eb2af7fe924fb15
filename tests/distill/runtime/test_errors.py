# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A refused command line ends with its sentence; a program's own errors end as they always do."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest
from doc_texts import run_command

from ultralytics.distill.runtime import errors
from ultralytics.distill.runtime.errors import TermError
from ultralytics.distill.training.run import put_back
from ultralytics.distill.values import number, plain

YOLO = [sys.executable, "-c", "from ultralytics.cfg import entrypoint; entrypoint()", "train"]


def caught(function):
    """Return what a function raises."""
    try:
        function()
    except Exception as e:
        return e


def wrong():
    """Raise an error of a user's that reads like ours."""
    raise ValueError("'dfea=1' is mine")


def line_of(student_yaml, folder):
    """Return the words of a command with a wrong teacher."""
    return [f"model={student_yaml}", "data=nothing.yaml", "model_t=nowhere.pt", "device=cpu", f"project={folder}/runs"]


def test_yolo_says_the_sentence_alone(student_yaml, tmp_path):
    """A wrong teacher costs its user one line and exit code 2, and leaves no folder."""
    line = [*YOLO, *line_of(student_yaml, tmp_path)]
    done = subprocess.run(line, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    said = done.stderr.strip().splitlines()
    assert said == ["error: 'model_t=nowhere.pt' does not exist; give the path of a trained model (.pt)."]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "more, says",
    [
        ([], "'model_t=nowhere.pt' does not exist; give the path of a trained model (.pt)."),
        (["dlgoit=4"], "'dlgoit' is not a valid YOLO argument. Similar arguments are i.e. ['dlogit=1.0',"),
    ],
)
@pytest.mark.parametrize("verbose", ["", "true"])
def test_who_wants_the_traceback_asks(more, says, verbose, student_yaml, tmp_path, monkeypatch, capsys):
    """A misspelt name is one sentence too; with `YOLO_VERBOSE=true` errors are shown as Python shows them."""
    monkeypatch.setenv("YOLO_VERBOSE", verbose)
    before = sys.excepthook
    with pytest.raises((FileNotFoundError, SyntaxError)) as error:
        run_command(shlex.join(["yolo", "train", *line_of(student_yaml, tmp_path), *more]), monkeypatch)
    assert says in str(error.value) and (sys.excepthook is before) == (verbose == "true")
    if not verbose:
        with pytest.raises(SystemExit, match="2"):
            sys.excepthook(error.type, error.value, error.tb)
        assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"error: {says}")


STOPPED = """
import sys
from ultralytics.cfg import entrypoint
from ultralytics.engine.trainer import BaseTrainer
def stop(self, *args, **kwargs):
    raise KeyboardInterrupt
BaseTrainer.save_metrics = stop
entrypoint()
"""


def test_yolo_says_how_to_go_on(student_yaml, data_yaml, teacher_pt, tmp_path):
    """Ctrl-C under `yolo` ends with one sentence and the shell's status for it, not with a traceback."""
    line = ["train", f"model={student_yaml}", f"data={data_yaml}", f"model_t={teacher_pt}", "imgsz=32", "epochs=2"]
    line += ["device=cpu", "workers=0", "batch=4", "plots=False", "distill_check=False", f"project={tmp_path}/runs"]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, *line],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=240,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 130 and "Traceback" not in said, said[-800:]
    assert said.count("Interrupted; no epoch was completed.") == 1


@pytest.mark.parametrize(
    "there, stop, says",
    [
        (False, False, "Interrupted; no epoch was completed."),
        (True, False, "Interrupted; go on with: yolo train resume=True model={}"),
        (True, True, "Interrupted after the last epoch; the weights are {}"),
    ],
)
def test_a_program_is_told_how_to_go_on(there, stop, says, tmp_path, log):
    """In anybody's program Ctrl-C leaves its traceback, and before it one sentence, once."""
    last = tmp_path / "last.pt"
    last.write_bytes(b"") if there else None
    run = SimpleNamespace(step=None, batch=3, begun=True)
    trainer = SimpleNamespace(distill=run, last=last, stop=stop)
    for _ in range(2):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            put_back(trainer)
    assert [x.strip() for x in log()] == [says.format(last)]


@pytest.mark.parametrize(
    "function, expected",
    [
        (lambda: number("dfea", -1, least=0), True),
        (wrong, False),
        (lambda: plain(1).nothing, False),
        (lambda: int("x"), False),
    ],
)
def test_only_sentences_of_ours_are_refusals(function, expected):
    """An error of a user's code keeps its traceback, whatever it says."""
    assert errors.is_user_error(caught(function)) == expected and errors.is_user_error(TermError("the term"))


def test_a_program_keeps_its_hook():
    """Outside of `yolo` nothing is changed in how errors are shown."""
    before = sys.excepthook
    errors.install_excepthook(None)
    assert sys.excepthook is before
