# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Objects as teachers: wrapped, compiled, traced, exported, or of a kind that cannot teach."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from live_teacher import make_teacher
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ultralytics import YOLO
from ultralytics.distill.teacher.live import deepcopy_teacher
from ultralytics.distill.teacher.source import resolve
from ultralytics.distill.teacher.speed import supports_dtype
from ultralytics.nn.autobackend import AutoBackend

pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.filterwarnings("ignore:.torch.load.")]
FORMS = ["traced", "scripted", "frozen"]


class Inner(nn.Module):
    """A user's own module around another one, which does more than pass images on."""

    def __init__(self):
        """Keep a convolution under the name that torch's wrappers use."""
        super().__init__()
        self.module = nn.Conv2d(3, 4, 8, 8)

    def forward(self, x):
        """Normalise first."""
        return self.module(x * 2 - 1)


def scripted(form, channels=3):
    """Return a plain module of one map, and the same in a form of TorchScript."""
    plain = nn.Sequential(nn.Conv2d(channels, 4, 4, 4), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 2, 2)).eval()
    made = torch.jit.script(plain) if form == "scripted" else torch.jit.trace(plain, torch.zeros(1, channels, 64, 64))
    return plain, torch.jit.freeze(made) if form == "frozen" else made


@pytest.mark.parametrize("wrap", [nn.DataParallel, AveragedModel, torch.compile, lambda m: nn.DataParallel(m.half())])
def test_wrapped(wrap, teacher_pt, tmp_path):
    """A wrapper that changes nothing about the maps is peeled; the file is found by the bare model."""
    source = resolve(wrap(YOLO(teacher_pt).model), tmp_path)
    assert type(source.module).__name__ == "DetectionModel" and source.live
    assert source.path == Path(teacher_pt).resolve() or wrap is AveragedModel  # which has copied the model


def test_a_module_of_the_same_attribute(tmp_path):
    """A user's module that has a `module` inside is no wrapper: what it does to the images is kept."""
    module, x = Inner().eval(), torch.rand(1, 3, 64, 64)
    (found,) = make_teacher(resolve(module, tmp_path / "teacher.pt").module, layers=[1], head=False)(x).maps.values()
    assert torch.allclose(found, module(x), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_traced(form, channels, tmp_path):
    """Traced and scripted modules teach as objects as they do by their file, and stay as they were."""
    plain, made = scripted(form, channels)
    if channels == 4 and form == "frozen":
        with pytest.raises(ValueError, match=r"is a Sequential, which cannot take images of 3x256x256"):
            resolve(made, tmp_path / "teacher.pt")  # nothing tells its channels
        return
    before, x = {k: v.clone() for k, v in made.state_dict().items()}, torch.rand(2, channels, 64, 64)
    source = resolve(made, tmp_path / "teacher.pt")
    teacher = make_teacher(source.module, layers=[1], head=False)
    assert torch.allclose(teacher(x).maps[1], plain(x), atol=1e-5) and teacher.onednn_blocks == 0
    assert not any(p.requires_grad for p in teacher.model.parameters())
    assert all(p.requires_grad for p in made.parameters())
    assert all(torch.equal(v, before[k]) for k, v in made.state_dict().items())
    torch.jit.save(made, tmp_path / "made.pt")
    again = resolve(tmp_path / "made.pt", tmp_path / "teacher.pt")
    assert torch.equal(again.module.inner(x), made(x))


def test_traced_modules_are_tried_in_16_bits(tmp_path):
    """What a trace makes of 16 bits is not known before; one without weights stays in float32."""
    found = {f: resolve(scripted(f)[1], tmp_path / "teacher.pt").module for f in FORMS}
    tried = {f: supports_dtype(torch.bfloat16, m, torch.device("cpu")) for f, m in found.items()}
    assert tried == {"traced": True, "scripted": True, "frozen": False}


def test_no_weights(tmp_path):
    """A module without weights is a teacher like any other."""
    teacher = make_teacher(resolve(nn.AvgPool2d(8), tmp_path / "teacher.pt").module, layers=[1], head=False)
    assert teacher(torch.ones(1, 3, 64, 64)).maps[1].unique().tolist() == [1] and teacher.size == 0


def test_exported(teacher_pt, tmp_path):
    """A `YOLO` that holds an exported file is taken as that file; an AutoBackend cannot show raw predictions."""
    (tmp_path / "t.onnx").write_bytes(b"x")
    for value in (str(tmp_path / "t.onnx"), YOLO(tmp_path / "t.onnx", task="detect")):
        with pytest.raises(ValueError, match=r"'model_t=.*t.onnx' cannot be read as an Ultralytics .*; give a trained"):
            resolve(value, tmp_path)
    with pytest.raises(ValueError, match="'model_t' is an AutoBackend, which returns finished boxes .*; give the YOLO"):
        resolve(AutoBackend(YOLO(teacher_pt).model, device=torch.device("cpu")), tmp_path)


def test_something_else(tmp_path):
    """What is no module is named in one line, however long it is."""
    with pytest.raises(ValueError, match="^'model_t=namespace.* is not a path, a YOLO, an nn.Module or a fu.*n.$") as e:
        resolve(SimpleNamespace(text="a\nb" * 100), tmp_path)
    assert "\n" not in str(e.value) and len(str(e.value)) < 150


def test_cannot_be_copied(make_model, tmp_path):
    """An object that does not allow a copy is refused by its name, Ultralytics or not; it is not used up instead."""
    model = make_model(trained=True)
    model.lock = threading.Lock()
    for module, name in ((model, "DetectionModel"), (resolve(Inner(), tmp_path / "x.pt").module, "Inner")):
        getattr(module, "inner", module).lock = threading.Lock()
        with pytest.raises(ValueError, match=f"'model_t' is a {name}, which cannot be copied .*; give the path"):
            deepcopy_teacher(module)
        with pytest.raises(ValueError, match="cannot be copied"):
            make_teacher(module)
