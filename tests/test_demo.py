# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The demo's drawn data and its models."""

from __future__ import annotations

import numpy as np
import pytest

import demo
from demo import drawing
from ultralytics.distill.upstream import load_yaml
from ultralytics.nn.tasks import DetectionModel, yaml_model_load


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A small set."""
    folder = tmp_path_factory.mktemp("drawn")
    demo.prepare(folder, 64, train=24, val=6)
    return folder


def read(folder, split):
    """Return the labels of every image of a split."""
    return [np.loadtxt(f, ndmin=2) for f in sorted((folder / "labels" / split).glob("*.txt"))]


def test_drawing_is_the_same_each_time(drawn, tmp_path):
    """Images and labels depend on the seed and their number alone, and another seed gives others."""
    demo.draw_dataset(tmp_path / "same", 3, 2, imgsz=64)
    demo.draw_dataset(tmp_path / "other", 3, 2, imgsz=64, seed=1)
    for file in ("images/train/0002.jpg", "labels/train/0002.txt", "images/val/0001.jpg"):
        assert (tmp_path / "same" / file).read_bytes() == (drawn / file).read_bytes()
        assert (tmp_path / "other" / file).read_bytes() != (drawn / file).read_bytes()
    assert (drawn / "images/train/0000.jpg").read_bytes() != (drawn / "images/val/0000.jpg").read_bytes()


def test_labels_are_valid_and_every_class_occurs(drawn):
    """Boxes lie inside the image and have an extent; both splits hold what `data.yaml` promises."""
    assert len(read(drawn, "train")) == 24 and len(read(drawn, "val")) == 6
    rows = np.concatenate(read(drawn, "train") + read(drawn, "val"))
    assert set(rows[:, 0]) == set(load_yaml(drawn / "data.yaml")["names"]) == set(range(len(drawing.CLASSES)))
    low, high = rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2
    assert low.min() >= -1e-6 and high.max() <= 1 + 1e-6 and rows[:, 3:].min() > 0.02


def test_boxes_follow_the_size_of_the_image():
    """The same generator draws the same scene at another size."""
    small, large = (drawing.draw_image(np.random.default_rng(3), s) for s in (64, 128))
    assert small[0].shape == (64, 64, 3) and large[0].shape == (128, 128, 3)
    assert small[0].dtype == np.uint8


def test_boxes_fit_their_objects(monkeypatch):
    """A box ends where the pixels of its object end."""
    masks = []
    monkeypatch.setattr(drawing, "_distractor", lambda *args: None)
    monkeypatch.setattr(drawing, "_paint", lambda rng, canvas, mask, *args: masks.append(mask))
    for seed in range(5):
        masks.clear()
        _, labels = drawing.draw_image(np.random.default_rng(seed), 64)
        assert len(labels) == len(masks) > 0
        for mask, (_, x, y, w, h) in zip(masks, labels * len(masks[0])):
            ys, xs = np.nonzero(mask)
            found = np.array([xs.min(), xs.max() + 1, ys.min(), ys.max() + 1])
            assert np.abs(found - [x - w / 2, x + w / 2, y - h / 2, y + h / 2]).max() <= 2


def test_a_set_is_drawn_once(drawn, tmp_path):
    """The same request leaves the files alone; another one replaces the set, without leftovers of the larger one."""
    demo.prepare(tmp_path, 64, train=4, val=2)
    image = tmp_path / "images/train/0000.jpg"
    before = image.stat().st_mtime_ns
    demo.prepare(tmp_path, 64, train=4, val=2)
    assert image.stat().st_mtime_ns == before
    demo.prepare(tmp_path, 64, train=2, val=2)
    assert image.stat().st_mtime_ns != before and len(list(image.parent.iterdir())) == 2


def test_the_teacher_is_larger_than_the_student(drawn):
    """Both YAMLs build, at the widths they were written for."""
    sizes = [
        sum(
            p.numel() for p in DetectionModel(yaml_model_load(drawn / f"{name}.yaml"), nc=6, verbose=False).parameters()
        )
        for name in ("student", "teacher")
    ]
    assert sizes[1] > 3 * sizes[0]
