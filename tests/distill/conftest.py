# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What the tests share: small models, a teacher that looks trained, batches, arguments and a tiny detection set."""

from __future__ import annotations

import gc
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_models import NAMES, build_model, save_model, shrink
from torch import nn

from ultralytics.cfg import get_cfg
from ultralytics.distill import arguments as configuration
from ultralytics.distill.distiller import Distiller
from ultralytics.distill.teacher.frozen import Teacher
from ultralytics.distill.teacher.source import Source
from ultralytics.distill.training.step import Step
from ultralytics.distill.upstream import save_yaml
from ultralytics.nn.modules.conv import Conv
from ultralytics.utils import LOGGER

OFF = {"distill_feat": "none", "distill_logit": "none", "distill_rel": "none"}
TRAINED = {"faces", "answered", "stopped", "measured", "start"}  # fixtures that train or validate


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items):
    """What shares a trained fixture of its file runs in one process: else each of the two would train."""
    for item in items:
        if names := TRAINED & {*item.fixturenames}:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem} {min(names)}"))


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state, and from upstream's own activation.

    On 8.3 a YAML that names another one, as YOLOv6's does, changes that of all later models of the process.
    """
    activation = Conv.default_act
    torch.manual_seed(0)
    yield
    Conv.default_act = activation


@pytest.fixture
def few_objects():
    """Let `gc.get_objects()` list only what is made from here on: a look at all that modules hold takes long."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def make_model():
    """`make_model("yolo26n-seg.yaml", nc=3, width=0.125, seed=0, trained=False)`: a fresh small model of any task."""
    return build_model


@pytest.fixture(scope="session")
def make_detect_model():
    """`make_detect_model(width=0.125, ...)`: a fresh small YOLOv8, or another detector by the name of its YAML."""
    return build_model


@pytest.fixture(scope="session")
def make_batch():
    """`make_batch(n=2, size=64, nc=3, labels=True, task="detect")`: a training batch, one object an image, or none."""

    def make(n: int = 2, size: int = 64, nc: int = 3, labels: bool = True, seed: int = 0, task: str = "detect") -> dict:
        g = torch.Generator().manual_seed(seed)
        m = n if labels else 0
        batch = {
            "img": torch.rand(n, 3, size, size, generator=g),
            "cls": torch.randint(0, nc, (m, 1), generator=g).float(),
            "bboxes": 0.3 + 0.4 * torch.rand(m, 4, generator=g),
            "batch_idx": torch.arange(m).float(),
        }
        if task == "classify":
            batch["cls"] = batch["cls"].flatten().long()
        elif task == "segment":  # as upstream's dataset has them, at a quarter of the size
            batch["masks"] = torch.randint(0, 2, (n, size // 4, size // 4), generator=g)
            batch["sem_masks"] = batch["cls"].view(-1, 1, 1).long() * batch["masks"]
        elif task == "pose":
            batch["keypoints"] = torch.cat([torch.rand(m, 17, 2, generator=g), torch.full((m, 17, 1), 2.0)], 2)
        elif task == "obb":
            batch["bboxes"] = torch.cat([batch["bboxes"], torch.rand(m, 1, generator=g)], 1)
        elif task == "semantic":
            batch["semantic_mask"] = torch.randint(0, nc, (n, size, size), generator=g)
        elif task == "depth":
            batch["depth"] = 1 + torch.rand(n, size, size, generator=g)
        return batch

    return make


@pytest.fixture(scope="session")
def make_args():
    """`make_args(distill_feat="mgd")`: the trainer's namespace, checked by upstream, with a teacher's name in it."""

    def make(**overrides):
        return get_cfg(overrides={"model_t": "teacher.pt", **overrides})

    return make


@pytest.fixture(scope="session")
def make_distiller(make_args):
    """`make_distiller(student, teacher, distill_feat="cwd", ...)`: a Distiller; terms that are not named are off."""

    def make(student: nn.Module, teacher: nn.Module, **overrides) -> Distiller:
        return Distiller(configuration.read(make_args(**{**OFF, **overrides})), student, teacher)

    return make


@pytest.fixture(scope="session")
def make_step(make_distiller):
    """`make_step(student, teacher, distill_feat="cwd", ...)`: a Step; student in train mode, teacher in fp32."""

    def make(student: nn.Module, teacher: nn.Module, **overrides) -> Step:
        distiller, source = (
            make_distiller(student, teacher, **overrides),
            Source(teacher, Path("teacher.pt"), live=True),
        )
        wants = distiller.layers[1], distiller.needs_head, distiller.needs_features
        frozen = Teacher(source, *wants, torch.device("cpu"), torch.float32)
        return Step(student.train(), distiller, frozen)

    return make


@pytest.fixture(scope="session")
def teacher_pt(tmp_path_factory) -> Path:
    """A YOLOv8 checkpoint, wider than the students, whose BatchNorm statistics are not fresh."""
    folder = tmp_path_factory.mktemp("teacher")
    return save_model(build_model(width=0.25, seed=1, trained=True), folder / "teacher.pt")


@pytest.fixture(scope="session")
def wide_teacher_pt(tmp_path_factory) -> Path:
    """Another teacher of other widths."""
    folder = tmp_path_factory.mktemp("wide")
    return save_model(build_model(width=0.375, seed=2, trained=True), folder / "wide.pt")


@pytest.fixture(scope="session")
def student_pt(tmp_path_factory) -> Path:
    """A student's own checkpoint, of the same architecture as `student_yaml`."""
    folder = tmp_path_factory.mktemp("student")
    return save_model(build_model(seed=3, trained=True), folder / "student.pt")


@pytest.fixture(scope="session")
def student_yaml(tmp_path_factory) -> Path:
    """The YAML of a YOLOv8 at depth 0.33 and width 0.125."""
    path = tmp_path_factory.mktemp("student") / "student.yaml"
    cfg = shrink("yolov8n.yaml", 0.125)
    save_yaml(path, {k: v for k, v in cfg.items() if k != "yaml_file"})
    return path


@pytest.fixture(scope="session")
def data_yaml(tmp_path_factory) -> Path:
    """A detection set: eight training and four validation images of 64x64 with one or two shapes each."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        images, labels = root / "images" / split, root / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for i in range(count):
            image = rng.integers(90, 120, (64, 64, 3), dtype=np.uint8)
            rows = [_draw(image, rng, kind=(i + j) % 3) for j in range(1 + i % 2)]
            cv2.imwrite(str(images / f"{i}.png"), image)
            (labels / f"{i}.txt").write_text("\n".join(rows) + "\n")
    path = root / "shapes.yaml"
    save_yaml(path, {"path": str(root), "train": "images/train", "val": "images/val", "names": NAMES})
    return path


def _draw(image: np.ndarray, rng: np.random.Generator, kind: int) -> str:
    """Draw a shape of a kind and return its label."""
    r = int(rng.integers(7, 14))
    x, y = (int(v) for v in rng.integers(r, 64 - r, 2))
    color = [int(v) for v in rng.integers(150, 256, 3)]
    if kind == 0:
        cv2.circle(image, (x, y), r, color, -1)
    elif kind == 1:
        cv2.rectangle(image, (x - r, y - r), (x + r, y + r), color, -1)
    else:
        for d in range(-r, r + 1, 4):
            cv2.line(image, (x - r, y + d), (x + r, y + d), color, 1)
    return f"{kind} {x / 64:.6f} {y / 64:.6f} {2 * r / 64:.6f} {2 * r / 64:.6f}"


@pytest.fixture
def log(caplog):
    """`log()` lists the lines said so far; `log.clear()` forgets them."""

    def lines():
        return [r.getMessage() for r in caplog.records]

    lines.clear = caplog.clear
    caplog.set_level(logging.INFO, logger=LOGGER.name)
    with caplog.filtering(_Once()):
        LOGGER.addHandler(caplog.handler)  # upstream's logger does not pass its messages on in every process
        yield lines
        LOGGER.removeHandler(caplog.handler)


class _Once(logging.Filter):
    """Lets a record through once, though it comes from the logger and again from the root."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is new."""
        seen, record.seen = getattr(record, "seen", False), True
        return not seen
