# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Teachers that are no Ultralytics models."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from live_teacher import make_teacher
from short_run import columns, options, rows
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from ultralytics import YOLO
from ultralytics.distill.graph import head_inputs, pair, probe
from ultralytics.distill.inference import input_channels
from ultralytics.distill.teacher.foreign import Foreign, read_module
from ultralytics.distill.teacher.preprocessing import Preprocessing
from ultralytics.distill.teacher.source import resolve
from ultralytics.distill.upstream import save_yaml

HOW = "a test requirement: pip install --no-deps -r tests/oracles.txt"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Backbone(nn.Module):
    """A few convolutions; `form` decides how its maps of strides 8, 16 and 32 are returned."""

    def __init__(self, form=list, channels=3):
        """Make one convolution a stride."""
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(channels, 8, 8, 8), nn.Conv2d(8, 12, 2, 2), nn.Conv2d(12, 16, 2, 2))
        self.form = form

    def forward(self, x):
        """Return the maps."""
        maps = []
        for m in self.model:
            maps.append(x := m(x))
        return self.form(maps)


class Logits(nn.Module):
    """Class logits, and whatever else."""

    def __init__(self, form=lambda logits, x: logits):
        """Make one layer."""
        super().__init__()
        self.fc, self.form = nn.Linear(3, 3), form

    def forward(self, x):
        """Return the logits in a form."""
        return self.form(self.fc(x.mean((2, 3))), x)


def named(maps):
    """Return maps as torchvision's feature pyramids do."""
    return OrderedDict((str(i), m) for i, m in enumerate(maps))


def small_resnet():
    """A torchvision ResNet that returns the maps of its last three stages, with statistics that are not fresh."""
    torch.manual_seed(0)
    resnet = torchvision.models.resnet18(weights=None)
    resnet(torch.rand(2, 3, 64, 64))
    return create_feature_extractor(resnet.eval(), ["layer2", "layer3", "layer4"])


@pytest.fixture(scope="module")
def classes_folder(tmp_path_factory):
    """A classification set: three kinds of stripes, four training and two validation images of each."""
    root, rng = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for kind, name in enumerate(("flat", "rows", "columns")):
            (folder := root / split / name).mkdir(parents=True)
            for i in range(count):
                image = rng.integers(90, 120, (64, 64, 3), dtype=np.uint8)
                image[(slice(None), slice(None, None, 4), np.s_[:, ::4])[kind] if kind else slice(0)] = 230
                cv2.imwrite(str(folder / f"{i}.png"), image)
    return root


@pytest.mark.parametrize("form", [list, tuple, named, lambda maps: [maps[0], {"rest": maps[1:]}]])
def test_maps_in_any_form(form, make_model):
    """Maps in lists, tuples and dictionaries are found and paired with the student's by stride."""
    student, teacher = make_model(), Foreign(Backbone(form))
    assert probe(teacher, head_inputs(teacher)) == {1: (8, 8.0), 2: (12, 16.0), 3: (16, 32.0)}
    found = [(p.name, p.student, p.teacher) for p in pair(student, teacher)]
    assert found == [("P3", 15, 1), ("P4", 18, 2), ("P5", 21, 3)]
    assert [p.teacher for p in pair(student, teacher, [(9, 3), (4, 1)])] == [3, 1]


def test_a_single_map(make_model):
    """One map alone is layer 1, whatever it is wrapped in."""
    teacher = Foreign(Backbone(lambda maps: maps[1]))
    assert probe(teacher, head_inputs(teacher)) == {1: (12, 16.0)}
    with pytest.raises(ValueError, match=r"distill_layers=\[\[15, 2\]\]': the teacher has layers 0 to 1 before"):
        pair(make_model(), teacher, [(15, 2)])


def test_the_maps_are_the_modules_own():
    """Channels-last, and behind a view, the maps are what the module returns for normalised images."""
    resnet, x = small_resnet(), torch.rand(2, 3, 64, 64)
    teacher = make_teacher(Foreign(resnet), [1, 2, 3], head=False)
    teacher.preprocess = Preprocessing(3, 3, mean=MEAN, std=STD)
    with torch.no_grad():
        plain = resnet(torchvision.transforms.functional.normalize(x, MEAN, STD))
    for found, expected in zip(teacher(x).maps.values(), plain.values()):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_users_module_stays_as_it_is():
    """Neither trying nor teaching changes a number, a mode or an attribute of a live module."""
    module = small_resnet().train()
    state = {k: v.clone() for k, v in module.state_dict().items()}
    names = set(vars(module))
    make_teacher(foreign := Foreign(module), [1], head=False, dtype=torch.bfloat16)(torch.rand(1, 3, 64, 64))
    assert foreign.inner is module and module.training and set(vars(module)) == names
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize(
    "module, says",
    [
        (nn.Linear(5, 5), r"a Linear, which cannot take images of 3x256x256 \(.*\); give the size it takes"),
        (nn.Flatten(2), r"a Flatten, which returns tensors of shapes \[\(1, 3, 65536\)\]; a teacher returns maps"),
        (Logits(lambda y, x: [y, y]), r"shapes \[\(1, 3\), \(1, 3\)\]"),
        (Logits(lambda y, x: None), r"shapes \[\]"),
    ],
)
def test_what_is_no_teacher(module, says, tmp_path):
    """What takes no images or returns nothing to learn from is refused."""
    with pytest.raises(ValueError, match=says):
        resolve(module, tmp_path / "teacher.pt")


def test_channels_of_its_own(tmp_path):
    """The channels are those of the first convolution, and trying draws no random number."""
    module = Backbone(channels=4)
    random = torch.get_rng_state()
    assert input_channels(resolve(module, tmp_path / "teacher.pt").module) == 4
    assert torch.equal(torch.get_rng_state(), random)


def test_channels_that_the_first_convolution_does_not_tell(tmp_path):
    """Another convolution may be registered first, and a stem may fold pixels into channels."""

    class Upside(nn.Module):
        """Registers its layers from the last to the first."""

        def __init__(self, channels):
            super().__init__()
            self.last, self.first = nn.Conv2d(16, 8, 2, 2), nn.Conv2d(channels, 16, 4, 4)

        def forward(self, x):
            return self.last(self.first(x))

    for channels in (1, 3, 4):
        source = resolve(Upside(channels), tmp_path / "teacher.pt")
        assert input_channels(source.module) == channels and probe(source.module, [1]) == {1: (8, 8.0)}
    for channels in (1, 3):
        folded = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, 8, 4, 4))
        assert input_channels(resolve(folded, tmp_path / "teacher.pt").module) == channels


def test_size_of_its_own(tmp_path):
    """A module that takes one size only is tried at that size."""

    class Fixed(Backbone):
        """Takes 96x64 only."""

        def forward(self, x):
            """Refuse other sizes."""
            assert x.shape[2:] == (96, 64), "wrong size"
            return super().forward(x)

    with pytest.raises(ValueError, match=r"Fixed, which cannot take images of 3x256x256 \(wrong size\)"):
        resolve(Fixed(), tmp_path / "teacher.pt")
    assert [v for _, v in probe(resolve(Fixed(), tmp_path, (96, 64)).module, [1, 2, 3]).values()] == [8, 16, 32]


def test_saved_whole(tmp_path, log):
    """A live module is saved once, and its file gives the same maps; checkpoints and weights are not taken for one."""
    source = resolve(Backbone(), tmp_path / "weights/teacher.pt")
    source.write()
    again, x = resolve(str(source.path), tmp_path), torch.rand(1, 3, 64, 64)
    assert again.path == source.path and not again.save
    assert all(torch.equal(a, b) for a, b in zip(source.module.inner(x), again.module.inner(x)))
    torch.save({"weights": torch.ones(1)}, tmp_path / "dict.pt")
    torch.save(OrderedDict(a=torch.ones(1)), tmp_path / "state.pt")
    (tmp_path / "text.pt").write_text("hello")
    assert not any(read_module(str(tmp_path / f)) for f in ("dict.pt", "state.pt", "text.pt", "missing.pt"))


def test_what_cannot_be_saved_still_teaches(tmp_path, log):
    """A class that no other process could find is no reason to stop, and the consequence is said."""
    source = resolve(Backbone(lambda maps: maps), tmp_path / "teacher.pt")
    source.write()
    assert any("the teacher cannot be saved" in x and "neither be resumed" in x for x in log())
    assert not source.path.exists() and list(tmp_path.iterdir()) == []


def test_resnet_teaches_a_detector(data_yaml, student_yaml, tmp_path, log):
    """A torchvision ResNet teaches by feature terms; response terms are skipped, with the reason."""
    more = {"distill_mean": MEAN, "distill_std": STD, "model_t": small_resnet(), "imgsz": 60}  # upstream makes it 64
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, **more))
    assert rows(tmp_path)[0]["train/dfea_loss"] > 0 and "train/dlogit_loss" not in columns(tmp_path)
    assert any("skipped: relative (predictions of Detect and Maps do not compare" in x for x in log())
    assert Path(tmp_path / "run/weights/teacher.pt").is_file()


@pytest.mark.slow
def test_vit_teaches_a_detector(data_yaml, student_yaml, tmp_path, log):
    """A transformer that takes one size only and returns a map teaches the level of its stride; the report has it."""
    timm = pytest.importorskip("timm", reason=f"timm is {HOW}")
    vit = timm.create_model("vit_tiny_patch16_224", pretrained=False, features_only=True, out_indices=[-1], img_size=96)
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, model_t=vit, distill_imgsz=96, plots=True))
    assert (tmp_path / "run/distill.png").is_file() and not any("report is not whole" in x for x in log())
    assert [c for c in columns(tmp_path) if c.startswith("distill/cwd")] == ["distill/cwd/P4"]
    assert rows(tmp_path)[0]["train/dfea_loss"] > 0


def test_no_map_for_a_named_term(data_yaml, student_yaml, tmp_path):
    """A feature term that the user asked for is not dropped in silence where the teacher has no map."""
    more = {"model_t": Logits(), "distill_feat": "cwd"}
    with pytest.raises(ValueError, match=r"no common stride: the student's head sees strides .*, the teacher's \[\];"):
        YOLO(student_yaml).train(**options(data_yaml, tmp_path, **more))


@pytest.mark.parametrize("kind", ["resnet", "beit"])
def test_classifier_learns_logits(kind, classes_folder, tmp_path, log):
    """A torchvision or timm classifier teaches by its logits: ResNet50 <- BEiT, narrow, and YOLO11 <- ResNet18."""
    torch.manual_seed(0)
    if kind == "resnet":
        teacher = torchvision.models.resnet18(weights=None, num_classes=3)
    else:
        beit = pytest.importorskip("timm.models.beit", reason=f"timm is {HOW}")
        teacher = beit.Beit(img_size=64, embed_dim=48, depth=2, num_heads=3, num_classes=3)
    path = tmp_path / "resnet50-cls.yaml"  # upstream's blocks of ResNet50, an eighth as wide
    blocks = [(3, 8, 1, True, 1), (8, 8, 1, False, 3), (32, 16, 2, False, 4), (64, 32, 2, False, 6)]
    blocks += [(128, 64, 2, False, 3)]
    layers = [[-1, 1, "ResNetLayer", list(x)] for x in blocks]
    save_yaml(path, {"nc": 3, "backbone": layers, "head": [[-1, 1, "Classify", ["nc"]]]})
    student = YOLO("yolo11n-cls.yaml" if kind == "resnet" else path)
    student.train(**options(classes_folder, tmp_path, model_t=teacher, distill_logit="kl(tau=4)", distill_imgsz=64))
    assert rows(tmp_path)[0]["train/dlogit_loss"] > 0 and "train/dfea_loss" not in columns(tmp_path)
    assert any("skipped: cwd (the logit distillation losses teach all classes" in x for x in log())


def test_not_trained_along(data_yaml, student_yaml, tmp_path):
    """A module without a task loss cannot be an online teacher."""
    with pytest.raises(ValueError, match="distill_online=True' trains an Ultralytics model along.*a Backbone"):
        YOLO(student_yaml).train(**options(data_yaml, tmp_path, model_t=Backbone(), distill_online=True))
    assert not (tmp_path / "run").exists()
