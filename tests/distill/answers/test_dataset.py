# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Answers go through every augmentation as labels do."""

import pickle
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ultralytics.cfg import get_cfg
from ultralytics.distill.answers.dataset import read_batch
from ultralytics.distill.answers.join import join
from ultralytics.distill.answers.recorded import Recorded
from ultralytics.distill.heads.classes import Classes

EVERY = Classes([0, 1, 2], [0, 1, 2])
AUGMENTATIONS = {
    "none": {},
    "flips": {"fliplr": 0.5, "flipud": 0.5},
    "scale and translate": {"scale": 0.5, "translate": 0.3},
    "rotate and shear": {"degrees": 30.0, "shear": 10.0},
    "perspective": {"perspective": 0.001},
    "mosaic": {"mosaic": 1.0},
    "mosaic and mixup": {"mosaic": 1.0, "mixup": 1.0, "scale": 0.5},
    "cutmix": {"mosaic": 0.5, "cutmix": 1.0},
    "copy-paste": {"copy_paste": 1.0},
    "rect": {"rect": True},
    "all": {"mosaic": 0.7, "mixup": 0.3, "degrees": 15.0, "scale": 0.5, "translate": 0.2, "fliplr": 0.5},
}


def ride(dataset, path, classes=EVERY, count=3, conf=0.1):
    """Let a file ride with a set."""
    recorded = Recorded(path)
    extra = SimpleNamespace(name=recorded.table.extra)
    return join(dataset, recorded, [SimpleNamespace(classes=classes, count=count, conf=conf, extra=extra)])


def sample(dataset, index, seed):
    """Return one sample as its random draws decide."""
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
    return dataset[index]


def require_same(found, atol=5e-5):
    """Fail unless a sample's answers are its labels, in any order; the file rounds to five digits."""
    answers = found["answers"]
    a = np.concatenate([answers[:, :4], answers[:, 4:].argmax(1)[:, None]], 1)
    b = np.concatenate([found["bboxes"].numpy(), found["cls"].numpy().reshape(-1, 1)], 1)
    assert len(a) == len(b)
    if len(a):
        apart = np.abs(a[:, None] - b[None]).max(2)
        assert apart.min(0).max() < atol and apart.min(1).max() < atol


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_answers_move_as_labels_do(make_dataset, write_answers, tmp_path, name):
    """Answers that equal the labels equal them still, whatever moved, clipped, mixed or dropped these."""
    dataset = make_dataset(**AUGMENTATIONS[name])
    ride(dataset, write_answers(tmp_path / "a.jsonl"))
    seen = 0
    for seed in range(24):
        found = sample(dataset, seed % len(dataset), seed)
        require_same(found)
        scores = found["answers"][:, 4:]
        assert np.allclose(scores.max(1), 0.9) and np.allclose(scores.sum(1), 0.9)
        seen += len(scores)
    assert seen > 20


@pytest.mark.parametrize("name", [n for n in AUGMENTATIONS if n != "cutmix"])
def test_images_and_labels_are_those_of_a_run_without(make_dataset, write_answers, tmp_path, name):
    """Pixels and labels of each sample are the same with answers and without; cutmix alone asks where labels are."""
    plain, riding = (make_dataset(**AUGMENTATIONS[name]) for _ in range(2))
    ride(riding, write_answers(tmp_path / "a.jsonl"))
    for seed in range(6):
        a, b = (sample(d, seed, seed) for d in (plain, riding))
        assert set(b) == {*a, "answers"}
        assert all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in ("img", "cls", "bboxes", "batch_idx"))


def test_labels_of_the_set_are_not_touched(make_dataset, write_answers, tmp_path):
    """What counts, weighs or draws the set's labels sees them alone; the last epochs' augmentations part them too."""
    dataset = make_dataset(mosaic=1.0)
    before = [x["cls"].copy() for x in dataset.labels]
    ride(dataset, write_answers(tmp_path / "a.jsonl"))
    sample(dataset, 0, 0)
    assert all(np.array_equal(a, x["cls"]) for a, x in zip(before, dataset.labels))
    dataset.close_mosaic(get_cfg(overrides={"fliplr": 0.0}))
    found = sample(dataset, 0, 0)
    assert len(found["answers"]) == len(found["cls"]) == len(before[0]) and found["cls"].max() < 3


def test_batches_hold_answers_apart_and_workers_can_be_sent_the_set(make_dataset, write_answers, tmp_path):
    """A collated batch has the answers image by image; the set can be pickled for workers that are spawned."""
    dataset = make_dataset()
    ride(dataset, write_answers(tmp_path / "a.jsonl"))
    twin = pickle.loads(pickle.dumps(dataset))
    batch = dataset.collate_fn([sample(twin, i, 0) for i in range(4)])
    found = read_batch({"answers": batch["answers"]}, 2, 3, 0.1, torch.device("cpu"))
    assert torch.equal(found.image, batch["batch_idx"].long())
    torch.testing.assert_close(found.boxes, batch["bboxes"], rtol=0, atol=1e-5)
    assert torch.equal(found.cls, batch["cls"].view(-1).long())
    assert len(read_batch({"answers": batch["answers"]}, 2, 3, 0.95, torch.device("cpu"))) == 0
    assert len(read_batch({"answers": []}, 2, 3, 0.1, torch.device("cpu"))) == 0


def test_classes_are_those_of_the_student(make_dataset, write_answers, tmp_path):
    """Other order, unknown classes, and one class for all: scores stand where the student has the class."""
    path = write_answers(tmp_path / "a.jsonl")
    swapped = make_dataset()
    ride(swapped, path, Classes([2, 0], [0, 2]))
    single = make_dataset(single_cls=True)
    ride(single, path, Classes([0], [0, 1, 2], merge=True), count=1)
    for i in range(8):
        found, one = sample(swapped, i, 0), sample(single, i, 0)
        labels = found["cls"].view(-1).tolist()
        assert found["answers"][:, 4:].argmax(1).tolist() == [2 - c for c in labels if c != 1]
        assert one["answers"].shape == (len(labels), 5) and np.allclose(one["answers"][:, 4], 0.9)
    none = make_dataset()
    ride(none, path, conf=0.95)
    assert all(len(sample(none, i, 0)["answers"]) == 0 for i in range(8))


def test_polygons_beside_labels_give_answers_outlines(make_dataset, data_yaml, write_answers, tmp_path):
    """Where a detection set has polygons, boxes are made of them after each turn, and answers get outlines too."""
    root = tmp_path / "polygons"
    shutil.copytree(Path(data_yaml).parent, root)
    for f in (root / "labels").rglob("*.txt"):
        lines = []
        for c, x, y, w, h in ([float(v) for v in row.split()] for row in f.read_text().splitlines()):
            corners = [x - w / 2, y - h / 2, x + w / 2, y - h / 2, x + w / 2, y + h / 2, x - w / 2, y + h / 2]
            lines.append(" ".join(map(str, [int(c), *corners])))
        f.write_text("\n".join(lines))
    for cache in root.rglob("*.cache"):
        cache.unlink()
    yaml = root / "shapes.yaml"
    yaml.write_text(yaml.read_text().replace(str(Path(data_yaml).parent), str(root)))
    dataset = make_dataset(yaml, mosaic=0.5, degrees=20.0, fliplr=0.5, scale=0.4)
    assert all(len(x["segments"]) for x in dataset.labels)
    ride(dataset, write_answers(tmp_path / "a.jsonl"))
    for seed in range(12):
        require_same(sample(dataset, seed % 8, seed), atol=3e-4)
