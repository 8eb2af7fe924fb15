# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Finding, freezing and speeding up the teacher."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.distill.graph import head_inputs, replay
from ultralytics.distill.predictions import branches
from ultralytics.distill.speed import fuse
from ultralytics.distill.teacher import Source, Teacher, resolve
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils import downloads

CPU = torch.device("cpu")
FAMILIES = ("yolov8n.yaml", "yolov10n.yaml", "yolo11n.yaml", "yolo12n.yaml", "yolo26n.yaml", "yolo26n-seg.yaml",
            "yolov8n-cls.yaml", "yolov8n-rtdetr.yaml")  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder, from which no download is tried."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(downloads, "get_github_assets", lambda *_, **__: ("", []))
    return tmp_path


def make_teacher(model, layers=None, head=True, features=False, dtype=torch.float32):
    """Wrap a live model."""
    layers = head_inputs(model) if layers is None else layers
    return Teacher(Source(model, Path("teacher.pt"), live=True), layers, head, features, CPU, dtype)


def snapshot(model):
    """Return all that must not change in a user's model."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [(n, m.training, type(m).__name__) for n, m in model.named_modules()]
    return state, flags, [p.requires_grad for p in model.parameters()]


def unchanged(model, before):
    """Whether a model equals its snapshot."""
    state, *flags = snapshot(model)
    return list(before[1:]) == flags and state.keys() == before[0].keys() and all(
        torch.equal(v, before[0][k]) for k, v in state.items()
    )  # fmt: skip


def relative_error(x, reference):
    """Return the norm of the difference over the norm of the reference."""
    return ((x.float() - reference).norm() / reference.norm()).item()


@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 1e-3)])
@pytest.mark.parametrize("name", FAMILIES)
def test_fast_teacher_agrees(name, dtype, limit, make_model):
    """Fused, channels-last and in 16 bits, maps and raw predictions of every branch are those of the plain model."""
    model, x = make_model(name, width=None if "12" in name else 0.125, trained=True).eval(), torch.rand(2, 3, 64, 64)
    head = "rtdetr" not in name  # its predictions are drawn, and not compared
    fast = make_teacher(model, head=head, dtype=dtype)(x)
    model.model[-1].training = True
    with torch.no_grad():
        plain = replay(model, x, head_inputs(model), head)
    for i, reference in plain.maps.items():
        assert fast.maps[i].dtype == dtype and relative_error(fast.maps[i], reference) < limit
    found, expected = branches(fast.output, [8, 16, 32]), branches(plain.output, [8, 16, 32])
    dual = any(x in name for x in ("v10", "26"))
    assert list(found) == (["one2many", "one2one"] if dual else ["one2many"]) * head
    for branch, values in expected.items():
        for key in {"scores", "boxes", "mask_coefficient"} & values.keys():
            assert relative_error(found[branch][key], values[key]) < limit


def test_it_is_fast(make_model):
    """Convolutions hold their BatchNorms, weights lie channels-last, and without the head the graph is cut."""
    teacher = make_teacher(make_model("yolo26n.yaml", trained=True), [13, 16], head=False)
    assert not [m for m in teacher.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert teacher.model.model[1].conv.weight.is_contiguous(memory_format=torch.channels_last)
    ran = []
    for m in teacher.model.model:
        m.register_forward_hook(lambda m, *_: ran.append(m.i))
    seen = teacher(torch.rand(1, 3, 64, 64))
    assert ran == list(range(17)) and list(seen.maps) == [13, 16] and seen.output is None


@pytest.mark.parametrize("name", ["yolov10n.yaml", "yolo26n.yaml", "yolo26n-seg.yaml", "yolo26n-pose.yaml"])
def test_fusing_keeps_both_branches(name, make_model):
    """An end-to-end head keeps both branches, and upstream's own way of fusing it is back afterwards."""
    model = make_model(name, trained=True).eval()
    fuse(model)
    head = model.model[-1]
    assert head.cv2 is not None and head.one2one_cv2 is not None and head.one2one_cv3 is not None
    assert not [m for m in head.cv2.modules() if isinstance(m, nn.BatchNorm2d)]
    head.fuse()
    assert (head.cv2 is None) != (head.one2one_cv2 is None)


def test_frozen_for_good(make_model):
    """No parameter asks for a gradient, no output has one, and no call changes a number or a mode in it."""
    teacher, x = make_teacher(make_model("yolov8n-rtdetr.yaml", trained=True), head=False), torch.rand(2, 3, 64, 64)
    before = snapshot(teacher.model)
    first = teacher(x.requires_grad_())
    for _ in range(3):
        teacher(torch.rand(2, 3, 64, 64))
    again = teacher(x)
    assert unchanged(teacher.model, before) and not any(before[2])
    assert any(isinstance(m, nn.BatchNorm2d) for m in teacher.model.modules())  # some are in no fusible block
    assert not any(m.training for m in teacher.model.modules() if m is not teacher.model.model[-1])
    assert all(torch.equal(first.maps[i], again.maps[i]) and not first.maps[i].requires_grad for i in first.maps)


def test_frozen_under_autocast_and_grad(make_model):
    """The caller's autocast and grad mode do not reach the teacher."""
    teacher, x = make_teacher(make_model(trained=True)), torch.rand(1, 3, 64, 64)
    plain = teacher(x)
    with torch.autocast("cpu", torch.bfloat16), torch.enable_grad():
        seen = teacher(x)
    assert torch.equal(seen.maps[15], plain.maps[15]) and not seen.output["scores"].requires_grad


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo26n.yaml", "yolov8n-cls.yaml"])
def test_users_model_stays_as_it_is(name, make_model):
    """A live module is copied: not fused, not frozen, not cast, in its mode, its numbers bit-identical."""
    model = make_model(name, trained=True).train()
    model.model[3].eval()
    model.model[4].requires_grad_(False)
    model.criterion = criterion = model.init_criterion()
    before = snapshot(model)
    make_teacher(model, dtype=torch.bfloat16)(torch.rand(1, 3, 64, 64))
    assert unchanged(model, before) and model.criterion is criterion
    model(torch.rand(2, 3, 64, 64))  # and it still trains


def test_no_registry_sees_it(make_model):
    """A module that holds the teacher does not register it, and a deepcopy shares it."""
    holder = nn.Module()
    holder.teacher = make_teacher(make_model(trained=True))
    assert not holder.state_dict() and not list(holder.parameters()) and len(list(holder.modules())) == 1
    assert copy.deepcopy(holder).teacher is holder.teacher


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
                                         (nn.Linear(1, 1), "is a Linear, which has no list of layers")])  # fmt: skip
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


def test_live_teacher_without_a_file(make_model, folder):
    """A module that was never saved is written too; an unrelated teacher.pt nearby is not taken for it."""
    model = make_model(trained=True)
    torch.save({"model": make_model(trained=True, seed=2)}, "teacher.pt")
    source = resolve(model, folder / "weights" / "teacher.pt")
    source.write()
    assert source.path == folder / "weights" / "teacher.pt"
    assert torch.equal(YOLO(source.path).model.model[0].conv.weight, model.model[0].conv.weight)


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
