# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Arguments of runs that upstream starts as commands of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.cfg import parse_key_value_pair
from ultralytics.distill.losses import FEATURE
from ultralytics.distill.teacher.source import resolve
from ultralytics.distill.training.commands import spell_out


class Maps(nn.Conv2d):
    """A teacher of no Ultralytics kind, without a file."""

    def __init__(self):
        """Take images, return maps at stride 8."""
        super().__init__(3, 8, 3, 8, 1)


def test_objects_become_text(teacher_pt, wide_teacher_pt):
    """A teacher that equals its file is that file, a class is its name; the command line reads the same again."""
    feat = [FEATURE["cwd"], "pkd"]
    args = {"model_t": [YOLO(teacher_pt), Path(wide_teacher_pt)], "distill_feat": feat, "epochs": 3, "imgsz": 64,
            "distill_mean": np.full(3, 0.5)}  # fmt: skip
    plain = spell_out(args)
    assert plain["model_t"] == [str(teacher_pt), str(wide_teacher_pt)] and plain["epochs"] == 3
    assert plain["distill_feat"] == ["ultralytics.distill.losses.cwd:CWD", "pkd"] and args["distill_feat"] is feat
    assert plain["distill_mean"] == [0.5, 0.5, 0.5]
    for name in plain:
        assert parse_key_value_pair(f"{name}={plain[name]}") == (name, plain[name])
    assert spell_out({"teacher": YOLO(teacher_pt).model})["model_t"] == str(teacher_pt)
    assert spell_out({"model_t": "ema"})["model_t"] == "ema"


def test_plain_runs_are_left_alone():
    """Without a teacher the arguments are upstream's own, whatever they are."""
    args = {"data": object(), "distill_feat": "unknown"}
    assert spell_out(args) is args


@pytest.mark.parametrize("kind", ["YOLO", "model", "module"])
def test_a_teacher_without_a_file_is_refused(kind, teacher_pt, tmp_path):
    """The sentence says how to save it, and what it says gives a teacher."""
    teacher = {"YOLO": YOLO(teacher_pt), "model": YOLO(teacher_pt).model, "module": Maps()}[kind]
    if kind != "module":
        next(teacher.parameters()).data += 1
    with pytest.raises(ValueError, match=r"^'model_t' is a \w+ that no file holds .* give the path\.$") as e:
        spell_out({"model_t": teacher})
    file = tmp_path / "teacher.pt"
    how = str(e.value).partition("save it with ")[2].partition(", and give")[0].replace("teacher.pt", str(file))
    eval(how, {"teacher": teacher, "torch": torch})
    assert spell_out({"model_t": str(file)})["model_t"] == str(file)
    saved, given = resolve(str(file), file).module.state_dict(), list(teacher.state_dict().values())
    assert all(torch.allclose(a.float(), b.float(), rtol=1e-3) for a, b in zip(saved.values(), given))  # `save` halves


@pytest.mark.parametrize(("more", "says"), [
    ({"model_t": Maps()}, "no file holds"), ({"model_t": "gone.pt"}, "does not exist"),
    ({"model_t": "ema", "distill_feat": "nope"}, "'distill_feat=nope' is unknown"),
])  # fmt: skip
def test_tune_ends_before_its_first_trial(more, says, student_yaml, data_yaml, tmp_path):
    """Each trial would die with it, and `tune` would return as if all were well."""
    args = {"data": str(data_yaml), "project": str(tmp_path), "iterations": 1, "space": {"dlogit": (0.1, 4.0)}, **more}
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        YOLO(student_yaml).tune(**args)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
