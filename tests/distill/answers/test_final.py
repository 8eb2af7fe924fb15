# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A teacher's final boxes are those that upstream's own prediction gives, with the scores of all classes."""

import pytest
import torch

from ultralytics.distill.answers.final import final_boxes, student_scores
from ultralytics.distill.boxes import corners
from ultralytics.distill.graph import class_heads, run_layers
from ultralytics.distill.heads.classes import Classes
from ultralytics.distill.heads.common import head_strides

EVERY = Classes([0, 1, 2], [0, 1, 2])
SIZE = torch.tensor([96.0, 64.0] * 2)


def look(model, images, classes=EVERY, count=3, conf=0.3):
    """Return the final boxes of a model as a frozen teacher runs it."""
    model.eval().model[-1].training = True
    with torch.no_grad():
        output = run_layers(model, images, [], head=True).output
    return final_boxes(output, head_strides(model), classes, count, conf)


def spread(model):
    """Give a detector scores from low to high, where a fresh one has none above 0.1."""
    for levels in class_heads(model.model[-1]).values():
        for layers in levels:
            layers[-1].bias.data.zero_()
            layers[-1].weight.data *= 40
    return model


def upstreams(model, images, conf=0.3):
    """Return upstream's own predictions of each image: corners in pixels, score and class."""
    try:
        from ultralytics.utils.nms import non_max_suppression
    except ImportError:  # 8.3
        from ultralytics.utils.ops import non_max_suppression
    model.eval()
    with torch.no_grad():
        found = model(images)[0]
    return non_max_suppression(found, conf_thres=conf, iou_thres=0.7)


@pytest.mark.parametrize("name", ["yolov3-tiny.yaml", "yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_boxes_are_those_of_upstreams_prediction(make_model, name):
    """Boxes, scores and classes are upstream's behind non-maximum suppression, of every family, on an oblong image."""
    model, images = spread(make_model(name, trained=True, seed=4)), torch.rand(2, 3, 64, 96)
    found, wanted = look(model, images), upstreams(model, images)
    assert sum(map(len, wanted)) > 3
    for i, rows in enumerate(wanted):
        mine = found[found.image == i]
        mine = torch.cat([corners(mine.boxes) * SIZE, mine.scores.amax(1, keepdim=True) * 100, mine.cls[:, None]], 1)
        theirs = rows[:, :6] * torch.tensor([1, 1, 1, 1, 100, 1])
        apart = (mine[:, None] - theirs[None]).abs().amax(2)  # equal scores have no order
        assert len(mine) == len(rows)
        assert apart.amin(0).max() < 0.05 and apart.amin(1).max() < 0.05


def test_queries_are_final_as_they_are(make_model):
    """RT-DETR's queries pass with the scores of all classes; the sure ones are upstream's first."""
    model, images = make_model("rtdetr-l.yaml", trained=True, seed=4), torch.rand(2, 3, 64, 96)
    found = look(model, images, conf=0.005)
    assert len(found) == 2 * 30 and found.scores.shape == (60, 3)
    with torch.no_grad():
        finished = model.eval()(images)[0]
    top = finished[..., 4:].flatten(1).amax(1) if finished.shape[2] == 7 else finished[..., 4].amax(1)
    torch.testing.assert_close(torch.stack([found[found.image == i].scores.max() for i in range(2)]), top)


def test_one_set_of_boxes_for_many_anchors(make_model):
    """A higher threshold leaves a part of what a lower one gives, and none is one too many."""
    model, images = spread(make_model(trained=True, seed=4)), torch.rand(2, 3, 64, 64)
    low, high = look(model, images, conf=0.5), look(model, images, conf=0.8)
    assert 0 < len(high) < len(low) and bool((high.scores.amax(1) >= 0.8).all())
    none = look(model, images, conf=1.0)
    assert len(none) == 0 and none.boxes.shape == (0, 4) and none.scores.shape == (0, 3)


def test_scores_are_sorted_into_the_students_classes():
    """Shared classes move to the student's places, others are left out, and one class for all takes the surest."""
    scores = torch.tensor([[0.1, 0.7, 0.3]])
    assert torch.allclose(student_scores(scores, Classes([3, 0], [1, 2]), 4), torch.tensor([[0.3, 0, 0, 0.7]]))
    assert torch.allclose(student_scores(scores, Classes([0], [0, 1, 2], merge=True), 1), torch.tensor([[0.7]]))
