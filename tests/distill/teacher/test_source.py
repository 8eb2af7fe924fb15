# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Finding the teacher."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from live_teacher import make_teacher, snapshot, unchanged
from torch import nn

from ultralytics import YOLO
from ultralytics.distill.teacher.source import resolve, teachers_of
from ultralytics.distill.upstream import load_checkpoint
from ultralytics.utils import downloads


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder, from which no download is tried."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(downloads, "get_github_assets", lambda *_, **__: ("", []))
    return tmp_path


@pytest.mark.parametrize(
    "value, found",
    [
        *[(x, []) for x in (None, False, "", " ", "none", "None", [], [None, ""], "[]")],
        *[(x, ["ema"]) for x in ("ema", "EMA", ["Ema"], np.str_("EMA"))],
        ("[a.pt, b.pt]", ["a.pt", "b.pt"]),
        (("a.pt", Path("b.pt")), ["a.pt", "b.pt"]),
        ("with, comma.pt", ["with, comma.pt"]),
    ],
)
def test_what_names_no_teacher_one_or_several(value, found, folder):
    """Off has many spellings, and the empty text is none of a folder's; a file that exists is its own name."""
    Path("with, comma.pt").touch()
    assert teachers_of(value) == found


def test_path(teacher_pt, folder):
    """A path is loaded; it becomes absolute, and nothing is to be saved."""
    shutil.copy(teacher_pt, "mine.pt")
    for value in ("mine.pt", Path("mine.pt"), folder / "mine.pt"):
        source = resolve(value, folder / "weights")
        assert (source.path, source.save, source.live) == (folder / "mine.pt", False, False)
    assert source.module.model[0].conv.weight.dtype == torch.float32


def corrupt(folder, teacher_pt):
    """Make files that are no teachers, and return what their messages say beside the name."""
    (folder / "text.txt").write_text("hello")
    (folder / "text.pt").write_text("hello")
    (folder / "empty.pt").touch()
    (folder / "cut.pt").write_bytes(Path(teacher_pt).read_bytes()[:50_000])
    (folder / "folder.pt").mkdir()
    torch.save({"weights": torch.ones(3)}, folder / "state.pt")
    torch.save([1, 2], folder / "list.pt")


@pytest.mark.parametrize(
    "name", ["text.txt", "text.pt", "empty.pt", "cut.pt", "folder.pt", "state.pt", "list.pt", "missing.pt", "no.yaml"]
)
def test_unreadable(name, teacher_pt, folder):
    """What is no checkpoint is refused in one line that names argument and file, and leaves no file."""
    corrupt(folder, teacher_pt)
    before = sorted(p.name for p in folder.iterdir())
    missing = name in {"missing.pt", "no.yaml"}
    with pytest.raises(FileNotFoundError if missing else ValueError, match=f"'model_t={name}' ") as e:
        resolve(name, folder / "weights")
    assert "\n" not in str(e.value) and ".pt)" in str(e.value)
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.mark.parametrize("value, says", [(3, "model_t=3' is not a path"), (["a.pt"], "is not a path, a YOLO"),
                                         (nn.Linear(1, 1), "is a Linear, which cannot take images")])  # fmt: skip
def test_no_teacher(value, says, folder):
    """A number, a list or a model without layers is refused."""
    with pytest.raises(ValueError, match=says):
        resolve(value, folder)


def test_live_teacher_equal_to_its_file(teacher_pt, folder):
    """A YOLO or its model, with the weights of the file it came from, is that file; even after it has predicted."""
    teacher = YOLO(teacher_pt)
    for value in (teacher, teacher.model):
        source = resolve(value, folder)
        assert (source.path, source.save, source.live) == (Path(teacher_pt).resolve(), False, True)
        assert source.module is teacher.model
    teacher.predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)
    make_teacher(resolve(teacher, folder).module)(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize("key", ["model.0.conv.weight", "model.0.bn.running_mean"])
def test_changed_live_teacher_is_saved_once(key, teacher_pt, folder):
    """A teacher that differs from its file is written to the run's weights, as a checkpoint with the same numbers."""
    teacher = YOLO(teacher_pt)
    teacher.model.state_dict()[key].add_(0.25)
    before = snapshot(teacher.model)
    source = resolve(teacher, folder / "weights" / "teacher.pt")
    assert (source.path, source.save) == (folder / "weights" / "teacher.pt", True) and not source.path.exists()
    source.write()
    saved = load_checkpoint(source.path)[0]
    assert all(torch.equal(v, before[0][k]) for k, v in saved.state_dict().items()) and unchanged(teacher.model, before)
    assert resolve(saved, folder).save is False


def test_live_teacher_that_cannot_be_pickled(make_model, folder, log):
    """A hook of its owner's that pickle does not take costs the resume, which is said, and not the run."""
    model = make_model(trained=True)
    model.model[0].register_forward_hook(lambda *_: None)
    resolve(model, folder / "weights" / "teacher.pt").write()
    assert [x for x in log() if "cannot be saved" in x and "neither be resumed" in x]
    assert not [*folder.rglob("*.p*t")]


def test_live_teacher_without_a_file(make_model, folder):
    """A module that was never saved is written too; an unrelated teacher.pt nearby is not taken for it."""
    model = make_model(trained=True)
    torch.save({"model": make_model(trained=True, seed=2)}, "teacher.pt")
    source = resolve(model, folder / "weights" / "teacher.pt")
    source.write()
    assert source.path == folder / "weights" / "teacher.pt"
    assert torch.equal(YOLO(source.path).model.model[0].conv.weight, model.model[0].conv.weight)


def test_yaml_of_any_family(folder):
    """A YAML with an RT-DETR head is built as one, which upstream's `YOLO` does not do."""
    assert type(resolve("yolov8n-rtdetr.yaml", folder).module).__name__ == "RTDETRDetectionModel"


def test_path_is_not_written(teacher_pt, folder):
    """A teacher that has its file is not saved again."""
    shutil.copy(teacher_pt, "mine.pt")
    resolve("mine.pt", folder / "weights").write()
    assert not (folder / "weights").exists() and Path("mine.pt").read_bytes() == Path(teacher_pt).read_bytes()


def test_untrained_teacher_is_said_aloud(make_model, student_yaml, teacher_pt, folder, log):
    """A teacher from a YAML, or a live one that has seen no batch, teaches noise: allowed, with a warning."""
    resolve(str(teacher_pt), folder)
    assert not [x for x in log() if "untrained" in x]
    resolve(str(student_yaml), folder)
    assert [x for x in log() if "untrained teacher" in x and f"'model_t={student_yaml}'" in x]
    resolve(make_model(), folder)
    assert len([x for x in log() if "untrained teacher" in x]) == 2
