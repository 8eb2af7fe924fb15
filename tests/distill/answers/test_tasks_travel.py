# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Masks, keypoints and rotated boxes of answers go through every augmentation as labels do, pasted or not."""

import json
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from answer_files import NAMES, sample, write_labels_as_answers, write_labels_as_results
from lines import needs_84
from small_models import save_model
from test_dataset import AUGMENTATIONS, EVERY, ride

from ultralytics import YOLO
from ultralytics.distill.answers.coco import read_mask
from ultralytics.distill.answers.file import read_answers
from ultralytics.distill.answers.join import join
from ultralytics.distill.answers.recorded import Recorded
from ultralytics.distill.boxes import overlaps
from ultralytics.models.yolo.segment import SegmentationValidator

MORE = {"copy-paste of others": {"copy_paste": 1.0, "copy_paste_mode": "mixup", "mosaic": 0.5}}
CHANGES = [n for n in [*AUGMENTATIONS, *MORE] if n != "rect"]


def objects(found):
    """Return a sample's answers and its labels, each as boxes, classes, and what else they have."""
    told = torch.from_numpy(found["answers"])
    boxes, scores = told.split((told.shape[1] - 3, 3), 1)
    more = [found.get("answers_masks"), found.get("answers_keypoints")]
    labels = [found.get("masks"), found.get("keypoints")]
    mine = boxes, scores.argmax(1), *(x.float() for x in more if x is not None)
    theirs = found["bboxes"], found["cls"].view(-1), *(x.float() for x in labels if x is not None)
    return mine, theirs


def require_same(found):
    """Fail unless answers and labels are the same objects with the same masks, keypoints or corners."""
    mine, theirs = objects(found)
    assert len(mine[0]) == len(theirs[0]) and len(mine) == len(theirs)
    if not len(mine[0]):
        return 0
    size = found["img"].shape[1:]
    order = ((mine[0][:, None, :2] - theirs[0][None, :, :2]).abs().amax(2) + (mine[1][:, None] != theirs[1])).argmin(1)
    boxes, cls, *more = (x[order] for x in theirs)
    assert sorted(order.tolist()) == list(range(len(order))) and torch.equal(cls, mine[1].to(cls))
    if boxes.shape[1] == 5:  # sides and angle may change places
        assert overlaps(mine[0][None], boxes[None], size)[0].diagonal().min() > 0.9
    else:
        torch.testing.assert_close(mine[0], boxes, rtol=0, atol=1e-3)
    for a, b in zip(mine[2:], more):
        if a.shape[-1] == 3:
            assert torch.equal(a[..., 2] > 0, b[..., 2] > 0)
            torch.testing.assert_close(a[..., :2], b[..., :2], rtol=0, atol=1e-3)
        else:
            assert (a != (b > 0)).sum((1, 2)).max() <= 4  # cells at an edge; the file rounds
    return len(boxes)


OBB = pytest.param("obb", marks=needs_84("leaves the corners of a label outside the image"))


@pytest.mark.parametrize("task", ["segment", "pose", OBB])
def test_they_move_as_labels_do(make_dataset, draw, tmp_path, task):
    """Answers that equal the labels equal them still, in every augmentation and whatever the task."""
    data = draw(task)
    path = write_labels_as_answers(data, task, tmp_path / "a.jsonl")
    for name in CHANGES:
        args = {"overlap_mask": False, "mask_ratio": 1, **{**AUGMENTATIONS, **MORE}[name]}
        dataset = make_dataset(data, task=task, **args)
        ride(dataset, path)
        seen = sum(require_same(sample(dataset, seed % len(dataset), seed)) for seed in range(8))
        assert seen > 4, name


@pytest.mark.parametrize("mode", ["flip", "mixup"])
@pytest.mark.parametrize("task", ["segment", "obb"])
def test_pasted_objects_are_those_of_a_run_without(make_dataset, draw, tmp_path, task, mode):
    """Copy-paste chooses among the labels alone; what no label means is neither pasted nor lost where it was."""
    data = draw(task)
    path = write_labels_as_answers(
        data, task, tmp_path / "a.jsonl", also=[0.02, 0.02, 0.08, 0.02, 0.08, 0.08, 0.02, 0.08]
    )
    args = {"task": task, "copy_paste": 1.0, "copy_paste_mode": mode, "mosaic": 0.3}
    plain, with_answers = make_dataset(data, **args), make_dataset(data, **args)
    ride(with_answers, path)
    pasted = 0
    for seed in range(10):
        a, b = (sample(d, seed % 8, seed) for d in (plain, with_answers))
        assert all(torch.equal(a[k], b[k]) for k in a if isinstance(a[k], torch.Tensor))
        extra = len(b["answers"]) - len(b["cls"])
        images = 4 if extra > 1 else 1
        assert extra <= images
        pasted += len(b["cls"])
    assert pasted > 15


def test_a_file_of_boxes_rides_beside_polygons(make_dataset, draw, tmp_path):
    """Boxes have no masks to teach, but move with a set of polygons, also where copy-paste cuts along these."""
    data = draw("segment")
    path = write_labels_as_answers(data, "detect", tmp_path / "a.jsonl")
    dataset = make_dataset(data, task="segment", copy_paste=1.0, fliplr=0.5)
    ride(dataset, path)
    for seed in range(8):
        found = sample(dataset, seed, seed)
        assert len(found["answers"]) == len(found["cls"]) and "answers_masks" not in found
        a, b = torch.from_numpy(found["answers"][:, :4]), found["bboxes"]
        assert not len(a) or (a[:, None] - b).abs().amax(2).amin(1).max() < 2e-2


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_results_in_pixels_are_the_same_objects(make_dataset, draw, tmp_path, task):
    """COCO's list, whose outlines and keypoints become shares of each image once it is known."""
    recorded = Recorded(write_labels_as_results(draw(task), task, tmp_path / "a.json"))
    recorded.name_classes(NAMES)
    dataset = make_dataset(draw(task), task=task, overlap_mask=False, mask_ratio=1, mosaic=0.5)
    extra = SimpleNamespace(name=recorded.table.extra)
    join(dataset, recorded, [SimpleNamespace(classes=EVERY, count=3, conf=0.1, extra=extra)])
    assert sum(require_same(sample(dataset, seed, seed)) for seed in range(8)) > 6


class Watch(SegmentationValidator):
    """Upstream's validator, which keeps the masks that it writes."""

    written: ClassVar[list] = []

    def pred_to_json(self, predn, pbatch):
        """Keep an image's masks."""
        self.written.extend(predn["masks"].numpy())
        super().pred_to_json(predn, pbatch)


@needs_84("needs pycocotools to write masks")
def test_what_upstream_writes_is_read(draw, tmp_path, make_model):
    """`val save_json=True` of each task: COCO's results with masks as runs, keypoints, or four corners."""
    for task, suffix in (("segment", "-seg"), ("pose", "-pose"), ("obb", "-obb")):
        model = make_model(f"yolov8n{suffix}.yaml", trained=True, **({"kpt_shape": [3, 3]} if task == "pose" else {}))
        for layers in model.model[-1].cv3:
            layers[-1].bias.data.zero_()
        model.names = dict(enumerate(["red", "green", "blue"]))
        args = {"data": draw(task), "imgsz": 64, "conf": 0.5, "plots": False, "save_json": True, "workers": 0}
        args |= {"device": "cpu", "project": str(tmp_path), "name": task, "verbose": False}
        YOLO(save_model(model, tmp_path / f"{task}.pt")).val(Watch if task == "segment" else None, **args)
        found = read_answers(tmp_path / task / "predictions.json")
        assert found.extra == {"segment": "masks", "pose": "keypoints", "obb": "angles"}[task]
        results = json.loads((tmp_path / task / "predictions.json").read_text())
        assert 3 < len(found.boxes) <= len(results)  # a mask of one cell is no polygon
        if task == "segment":
            assert len(results) == len(Watch.written) > 3
            assert all(np.array_equal(read_mask(**x["segmentation"]), m) for x, m in zip(results, Watch.written))


def test_classes_and_scores_choose_outlines_too(draw, tmp_path):
    """A box that falls by its score takes its outline along; those that stay keep their own."""
    table = Recorded(write_labels_as_answers(draw("segment"), "segment", tmp_path / "a.jsonl", falling=True)).table
    less = table.for_classes(EVERY, 0.5)
    kept = np.flatnonzero(table.score >= 0.5)
    assert 0 < len(kept) < len(table.boxes) == len(table.outline) - 1
    every = slice(0, len(table.boxes))
    for a, b in zip(less.outlines_of(slice(0, len(kept))), (table.outlines_of(every)[i] for i in kept)):
        assert np.array_equal(a, b)
