# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Terms that send the student's features through the teacher's layers, on whole models."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from live_teacher import make_teacher
from torch import nn

from ultralytics.distill.graph import capture, head_branches
from ultralytics.distill.upstream import LINE

CROSS = ("crosskd", "crossld", "crossgiou")
MODELS = ("yolov8n-obb.yaml", "yolov10n.yaml", "yolo11n-seg.yaml", "yolo12n-pose.yaml", "yolo26n-obb.yaml")


def speaking(model):
    """Let a model's last layers say something: sure of some classes, boxes of unlike sides."""
    torch.manual_seed(2)
    for parts in head_branches(model.model[-1]).values():
        for x in (m[-1] for levels in parts.values() for m in levels):
            nn.init.normal_(x.weight, std=0.5)
            nn.init.constant_(x.bias, 3.0 if x.out_channels == 4 else 0.0)
    return model


def look(distiller, student, teacher, images, dtype=torch.float32):
    """Return the values of a distiller's terms on some images, the student in eval mode but for its head."""
    student.eval().model[-1].training = True
    frozen = make_teacher(teacher, distiller.layers[1], distiller.needs_head, distiller.needs_features, dtype)
    with capture(student, distiller.layers[0], distiller.needs_features) as seen:
        student(images)
    return distiller(seen, frozen(images), {"img": images}, {})[1]


@pytest.mark.parametrize("yaml", MODELS)
def test_a_student_that_is_its_teacher(yaml, make_model, make_distiller):
    """It has nothing to learn in any branch: each level's features of each branch go through their own layers."""
    own_scale = yaml.startswith("yolo12")  # no width of ours fits it
    width = None if own_scale else 0.125
    teacher, other = (speaking(make_model(yaml, width=width, seed=i, trained=True)) for i in (0, 1))
    terms = [x for x in CROSS if x != "crossld" or teacher.model[-1].reg_max > 1]
    distiller = make_distiller(teacher, teacher, distill_logit=terms)
    images, parts = torch.rand(2, 3, 96, 64), len(distiller.parts)
    assert parts == len(terms) * (2 if yaml[:6] in {"yolo26", "yolov1"} else 1)
    for same, unlike in zip(*(look(distiller, deepcopy(x), teacher, images) for x in (teacher, other))):
        assert same.abs() < 1e-6 < 1e-2 * unlike


@pytest.mark.parametrize("term, student, teacher", [
    ("crossld", {"name": "yolov8n.yaml"}, {"name": "yolov8n.yaml", "reg_max": 8}),
    ("crossgiou", {"name": "yolov8n.yaml"}, {"name": "yolo26n.yaml"}),
    ("crossld", {"name": "yolo26n.yaml"}, {"name": "yolov8n.yaml"}),
    ("crossgiou", {"name": "yolo26n-obb.yaml"}, {"name": "yolov8n-obb.yaml"}),
])  # fmt: skip
def test_unlike_bins_and_widths(term, student, teacher, make_model, make_step, make_batch):
    """Box features of any width come to the teacher's, and the cross boxes have its bins, whatever the student has.

    The term reaches the student's box features and what is before, not its own last box layers, nor its classes.
    """
    if "reg_max" in teacher and LINE == "8.3":
        pytest.skip("8.3 has one number of bins")
    teacher = speaking(make_model(**teacher, seed=1, trained=True))
    for more in ({}, {"distill_imgsz": 96}):
        learner = make_model(**student)
        step = make_step(learner, teacher, distill_logit=term, **more)
        align = step.distiller.terms[0].aligns["one2many"]
        assert all(x.project is not None for x in align)
        *_, columns = step.compute(make_batch(task=learner.task))
        assert columns["dlogit_loss"] > 0
        columns["dlogit_loss"].backward()
        head = learner.model[-1]
        for x, y in zip(head.cv2, align):
            assert x[0].conv.weight.grad.abs().sum() > 0 and y.project.weight.grad.abs().sum() > 0
            assert all(p.grad is None for p in x[1:].parameters())
        assert all(p.grad is None for p in head.cv3.parameters()) and learner.model[0].conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("term", CROSS)
def test_a_teacher_in_16_bits(term, make_model, make_distiller):
    """It teaches what it teaches in 32 bits, up to its own rounding: its last layers are kept in 32."""
    student, teacher = make_model(seed=1), speaking(make_model(width=0.1875, trained=True))
    distiller, images = make_distiller(student, teacher, distill_logit=term), torch.rand(2, 3, 64, 64)
    full, half = (look(distiller, student, teacher, images, x)[0] for x in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.float32 and full.item() == pytest.approx(half.item(), rel=0.05)


@pytest.mark.parametrize("term", ["crossld", "crossgiou"])
def test_boxes_of_classes_that_are_trained(term, make_model, make_distiller):
    """Boxes weigh by the teacher's confidence in classes that the student knows, and no label is read."""
    student, teacher = make_model(), speaking(make_model(seed=1, trained=True))
    student.names, images = {0: "a", 1: "b", 2: "c"}, torch.rand(2, 3, 64, 64)
    values = []
    for names in (["a", "b", "c"], ["a", "x", "y"]):
        teacher.names = dict(enumerate(names))
        distiller = make_distiller(student, teacher, distill_logit=term)
        assert not distiller.needs_targets and not distiller.margins
        values += look(distiller, student, teacher, images)
    assert values[0] > 0 < values[1] and values[0] != values[1]
