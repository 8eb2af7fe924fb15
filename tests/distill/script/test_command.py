# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What `distill.py` reads from its command line."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from lines import needs_84
from short_run import options, rows

from ultralytics import YOLO
from ultralytics.cfg import entrypoint
from ultralytics.distill.config import ARGUMENTS
from ultralytics.distill.script import command
from ultralytics.distill.training.results import space_columns
from ultralytics.utils import remove_colorstr, torch_utils

SCRIPT = Path(command.__file__).parents[3] / "distill.py"


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_help_is_for_people(word, capsys):
    """Docstring, the script's own arguments and all of the distillation's, each in a line with default and comment."""
    spec = importlib.util.spec_from_file_location("distill_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main([word, "data=my.yaml"])
    said = capsys.readouterr().out
    assert said.startswith(script.__doc__.splitlines()[0])
    lines = [x.split(None, 1) for x in said.splitlines() if x.startswith("  ") and "=" in x.split()[0]]
    shown = {a.partition("=")[0]: (a.partition("=")[2], comment) for a, comment in lines}
    assert {*script.ARGS, *ARGUMENTS} <= set(shown) and all(len(c) > 9 for _, c in shown.values())
    assert shown["model"][0] == "yolo26n.pt" and shown["dfea"][0] == "1.0" and shown["distill_layers"][0] == "auto"


@needs_84("has its command line tested on 8.4")
def test_yolo_names_ours(log):
    """`yolo help` says how to give a teacher, and `yolo cfg` shows each argument with its comment."""
    entrypoint("yolo help")
    assert "model_t=best.pt" in log()[-1]
    entrypoint("yolo cfg")
    assert all(re.search(rf"^{name}: .*# \(.+\) \w", log()[-1], re.M) for name in ("imgsz", "model_t", *ARGUMENTS))


def test_columns_of_the_header_do_not_touch():
    """A name of ours that fills upstream's 11 characters is shortened; each stands over its own numbers."""
    names = ("dfl_loss", "dlogit_loss", "my_very_own_loss")
    head = "\n" + "%11s" * 4 % ("Epoch", *names)
    step = SimpleNamespace(columns=names[1:])
    trainer = SimpleNamespace(progress_string=lambda: head, distill=SimpleNamespace(step=step))
    space_columns(trainer)
    assert trainer.progress_string().split() == ["Epoch", "dfl_loss", "dlogit", "my_very_ow"]
    assert len(trainer.progress_string()) == 1 + 4 * 11


@needs_84("does not join lists that hold blanks")
def test_reads_values_as_upstream_does_and_lets_the_line_win(tmp_path):
    """Numbers, lists and None are themselves; a run's own `args.yaml` can be given as it is."""
    (tmp_path / "args.yaml").write_text("epochs: 7\nbatch: 4\nmode: train\nsave_dir: somewhere\ncfg: null\n")
    given = command.read_line(["epochs=3", "imgsz", "=", "[64,", "96]", f"cfg={tmp_path}/args.yaml", "model_t=none"])
    assert given == {"epochs": 3, "batch": 4, "imgsz": [64, 96], "model_t": None}


def test_knows_the_older_spellings():
    """`teacher=` is `model_t=`, as everywhere else."""
    assert command.read_line(["teacher=a.pt"]) == {"model_t": "a.pt"}


EMPTY = pytest.param(["epochs="], marks=needs_84("takes an empty value"))
OPEN = pytest.param(["imgsz=[3"], marks=needs_84("takes an open bracket for a word"))


@pytest.mark.parametrize("line", [["data.yaml"], EMPTY, ["cfg=missing.yaml"], OPEN])
def test_leaves_with_a_sentence_where_the_line_cannot_be_read(line, capsys):
    """No traceback for a slip of the hand."""
    with pytest.raises(SystemExit, match="2"):
        command.read_line(line)
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    "runs, words",
    [
        ([{"imgsz": 64}, {"epoch": 3}], "'epoch' is not a valid YOLO argument"),
        ([{"distill_tau": -1}], "'distill_tau=-1'"),
        ([{}, {"imgsz": 64, "epochs": "many"}], "epochs"),
    ],
)
def test_checks_every_run_before_the_first(runs, words, capsys):
    """An argument of the last run is wrong before the first has begun."""
    with pytest.raises(SystemExit, match="2"):
        command.check(*runs)
    assert words in remove_colorstr(capsys.readouterr().err)


def test_what_is_for_a_teacher_is_not_given_to_a_training_without():
    """A teacher that is trained first, for fewer epochs than `distill_stop`, is not held against it."""
    args = {"epochs": 9, "distill_stop": 3, "dfea": 2, "model_t": None}
    assert command.without_teacher(args) == {"epochs": 9}
    command.check(args, {**command.without_teacher(args), "epochs": 2})


@pytest.mark.parametrize("asked, threads", [("3", 3), (None, 1), ("", 1), ("two", 1)])
def test_threads_are_those_the_user_asked_for(asked, threads, monkeypatch):
    """`OMP_NUM_THREADS` is the user's or the launcher's word; without it upstream's number stays."""
    monkeypatch.setattr(torch_utils, "NUM_THREADS", 1)
    command.use_threads(asked)
    assert torch_utils.NUM_THREADS == threads


@pytest.mark.parametrize("epoch, taught", [(0, True), (1, True), (1, False)])
def test_an_interrupted_training_says_how_to_go_on(epoch, taught, data_yaml, student_yaml, teacher_pt, tmp_path, log):
    """Ctrl-C ends the script with the shell's status for it and the line to type, if an epoch was completed."""
    model = YOLO(student_yaml)

    def interrupt(trainer):
        if trainer.epoch == epoch:
            raise KeyboardInterrupt

    model.add_callback("on_train_batch_end", interrupt)
    with pytest.raises(SystemExit) as left, command.interruptible(model):
        model.train(**options(data_yaml, tmp_path, model_t=str(teacher_pt) if taught else None, epochs=2))
    says = [x for x in log() if "Interrupted; " in x]
    last = tmp_path / "run/weights/last.pt"
    assert left.value.code == 130 and len(says) == 1 and last.is_file() == bool(epoch)
    line = f"python distill.py resume={last}" if taught else f"yolo train resume=True model={last}"
    assert (line if epoch else "no epoch was completed") in says[0]
    if epoch:
        YOLO(last).train(resume=True)
        assert [r["epoch"] for r in rows(tmp_path)] == [1, 2]


def test_an_interrupted_end_has_nothing_to_go_on_to(data_yaml, student_yaml, tmp_path, log):
    """Ctrl-C after the last epoch names the weights: a finished run cannot be resumed."""
    model = YOLO(student_yaml)

    def interrupt(trainer):
        raise KeyboardInterrupt

    model.add_callback("on_train_end", interrupt)
    with pytest.raises(SystemExit), command.interruptible(model):
        model.train(**options(data_yaml, tmp_path))
    last = tmp_path / "run/weights/last.pt"
    assert last.is_file() and any(f"Interrupted after the last epoch; the weights are {last}" in x for x in log())
