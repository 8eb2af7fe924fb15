# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""How far a teacher is ahead in boxes and classes, and what a term weighs by it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ultralytics.distill.terms.margin import MOST, BoxMargin, ClassMargin, precision
from ultralytics.utils.tal import make_anchors

SHAPES, STRIDES = [(8, 8), (4, 4), (2, 2)], [8.0, 16.0, 32.0]
LABEL = (8.0, 8.0, 56.0, 40.0)  # in an image of 64 x 64


def branch(share: float = 1.0, classes: int = 1) -> dict:
    """Return a branch whose boxes are LABEL with their far corner drawn in to a share of each side, at every anchor."""
    points, strides = make_anchors(torch.tensor(SHAPES), STRIDES)
    points, strides = (points.float() * strides).T, strides[:, 0].float()
    x, y, right, bottom = LABEL
    far = torch.tensor([x + share * (right - x), y + share * (bottom - y)])[:, None]
    boxes = torch.cat([points - torch.tensor([x, y])[:, None], far - points]) / strides
    target = torch.zeros(1, classes, 84)
    target[0, 0, [9, 70, 83]] = torch.tensor([1.0, 0.5, 0.5])  # an anchor of each level
    label = torch.tensor(LABEL)[:, None].expand(4, 84)
    found = {"scores": torch.zeros(1, classes, 84), "boxes": boxes[None], "shapes": SHAPES, "strides": STRIDES}
    return labelled({**found, "points": points[None]}, {"target_scores": target, "target_boxes": label[None]})


def labelled(found: dict, targets: dict) -> dict:
    """Return a branch whose labels are assigned to the same anchors whatever is predicted."""
    assign = {"by_boxes": True, "most_labels": 9, "assign": lambda *predicted: {k: found[k] for k in targets}}
    found |= {**targets, **assign}
    return found


def ranking(first: int, classes: int = 1) -> dict:
    """Return a branch whose scores of class 0 put so many anchors without a label before all those with one."""
    found = branch(classes=classes)
    found["scores"] = found["scores"].clone()
    found["scores"][0, 0, [9, 70, 83]] = torch.tensor([3.0, 2.0, 1.0])
    found["scores"][0, 0, 20 : 20 + first] = 5.0
    return found


def known(classes: list[int], teacher: list[int] | None = None, merge: bool = False) -> SimpleNamespace:
    """Return a term that compares some classes only."""
    index = [torch.tensor(x) for x in (classes, teacher or classes)]
    return SimpleNamespace(index_s=index[0], index_t=index[1], merge=merge)


def test_boxes_by_hand():
    """Half of each side is a quarter of the area: IoU 0.25 against 1, on every level and in pixels; 0.75 ahead."""
    margin = BoxMargin()
    margin.look(branch(0.5), branch(1.0))
    assert margin.ahead.item() == pytest.approx(0.75)
    assert margin.weight(1.0).item() == pytest.approx(0.75) and margin.weight(0.03).item() == 1
    margin.look(branch(0.9), branch(0.9))  # the newer of two batches weighs 1 where the older weighs 0.95
    assert margin.ahead.item() == pytest.approx(0.95 * 0.75 / 1.95)


def test_classes_by_hand():
    """One anchor put before those with labels: precision 1/2, 2/3, 3/4, weighted 1, 0.5, 0.5, is 0.604 against 1."""
    margin = ClassMargin()
    margin.look(ranking(1), ranking(0))
    assert margin.ahead.item() == pytest.approx(1 - (1 / 2 + 0.5 * 2 / 3 + 0.5 * 3 / 4) / 2)
    assert margin.weight(0.03) == 1 and margin.weight(0.8).item() == pytest.approx(0.395833 / 0.8, rel=1e-4)


@pytest.mark.parametrize("anchors", [50, 3 * MOST])
def test_precision_is_that_of_its_definition(anchors):
    """At each labelled anchor: labelled among those that score at least as high, none far down the ranking."""
    g = torch.Generator().manual_seed(0)
    scores = torch.randn(4, anchors, generator=g)
    label = torch.rand(4, anchors, generator=g) * (torch.rand(4, anchors, generator=g) < 0.2)
    found = 0.0
    for x, y in zip(scores.tolist(), label.tolist()):
        for v, w in zip(x, y):
            above = [b for a, b in zip(x, y) if a >= v]
            found += w * sum(b > 0 for b in above) / len(above) * (len(above) <= MOST)
    assert precision(scores, label).item() == pytest.approx(found / label.sum().item(), rel=1e-5)


def test_only_the_order_of_scores_counts():
    """A surer model is not a better one, nor is one with all scores raised."""
    margin, surer = ClassMargin(), ranking(2)
    surer["scores"] = 3 * surer["scores"] - 40
    margin.look(ranking(2), surer)
    assert margin.ahead.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "kind, ours, theirs", [(BoxMargin, branch(0.9), branch(0.5)), (ClassMargin, ranking(1), ranking(4))]
)
def test_a_student_that_is_ahead_is_left_alone(kind, ours, theirs):
    """A teacher that fits worse, or as well, has no weight."""
    margin, even = kind(), kind()
    margin.look(ours, theirs)
    even.look(ours, ours)
    assert margin.ahead < 0 and margin.weight(0.03) == 0 and even.weight(0.03) == 0


def test_labels_are_assigned_once_for_boxes_and_classes():
    """Two that look together find what each finds alone, and the teacher's predictions get their labels once."""
    student, teacher, asked = branch(0.5) | ranking(1), branch(1.0) | ranking(0), []
    assign = student["assign"]
    student["assign"] = lambda *predicted: asked.append(1) or assign(*predicted)
    alone, together = [BoxMargin(), ClassMargin()], [BoxMargin(), ClassMargin()]
    for margin in alone:
        margin.look(student, teacher)
    together[0].look(student, teacher, together[1:])
    assert len(asked) == 3
    assert all(torch.equal(a.seen, b.seen) and a.seen[2] > 0 for a, b in zip(alone, together))


@pytest.mark.parametrize("most, ahead", [(9, 0.197917), (2, 0.197917), (1, 0.395833), (0, 0.0)])
def test_no_more_rankings_than_labels_are_looked_at(most, ahead):
    """The rankings of classes without a label change nothing: those with the surest labels are kept."""
    student, teacher = ranking(1, classes=3), ranking(0, classes=3)
    student["target_scores"] = student["target_scores"].clone()
    student["target_scores"][0, 2, 9] = 2.0  # as much as class 0 has, and right in both
    student["scores"][0, 2, 9] = teacher["scores"][0, 2, 9] = 4.0
    student["target_scores"][0, 0] *= 1 + 1e-6
    margin = ClassMargin()
    margin.look({**student, "most_labels": most}, teacher)
    assert margin.ahead.nan_to_num(0).item() == pytest.approx(ahead, rel=1e-4)


@pytest.mark.parametrize("kind, key", [(BoxMargin, "boxes"), (ClassMargin, "scores")])
def test_only_labels_count(kind, key):
    """A batch without labels, or with outputs that are no numbers, changes nothing; before any the weight is whole."""
    margin, empty, broken = kind(), branch(0.5), branch(0.5)
    empty["target_scores"] = torch.zeros(1, 1, 84)
    broken[key] = broken[key].clone().index_fill(2, torch.tensor([9]), torch.nan)
    for student in (empty, broken):
        margin.look(student, branch(1.0))
        assert margin.seen.eq(0).all() and margin.weight(0.03) == 1
    margin.look(branch(0.5), branch(1.0))
    before = margin.seen.clone()
    for pair in ((broken, branch(1.0)), (branch(1.0), broken)):
        margin.look(*pair)
    assert torch.equal(margin.seen, before)


def test_labels_of_classes_that_the_teacher_does_not_know_do_not_count():
    """A teacher is not held against a label of which it says nothing."""
    margin, student = BoxMargin(known([0])), branch(0.5, classes=2)
    student["target_scores"] = student["target_scores"].clone().index_fill(1, torch.tensor([1]), 0.0)
    student["target_scores"][0, 1, 9], student["target_scores"][0, 0, 9] = 1.0, 0.0
    student["boxes"] = student["boxes"].clone()
    student["boxes"][0, :, 9] = 0  # its box is nowhere where the class is not compared
    margin.look(student, branch(1.0, classes=2))
    assert margin.ahead.item() == pytest.approx(0.75)


def test_classes_are_those_that_are_compared():
    """Of three classes the teacher knows the first, as its second; labels of the others are nothing to it."""
    student, teacher = ranking(1, classes=3), ranking(0, classes=2)
    student["target_scores"] = student["target_scores"].clone()
    student["target_scores"][0, 1:, 30:40] = 1.0
    teacher["scores"] = teacher["scores"].flip(1)
    margin = ClassMargin(known([0], [1]))
    margin.look(student, teacher)
    assert margin.ahead.item() == pytest.approx(0.395833, rel=1e-4)


def test_one_class_for_all():
    """With `single_cls` the student's one class is held against the surest of the teacher's, label by label."""
    teacher = ranking(0, classes=2)
    teacher["scores"][0, 1, 9], teacher["scores"][0, 0, 9] = 9.0, 0.0
    margin = ClassMargin(known([0], [0, 1], merge=True))
    margin.look(ranking(1), teacher)
    assert margin.ahead.item() == pytest.approx(0.395833, rel=1e-4)


def test_a_teacher_of_another_size():
    """Its sides are brought to the student's cells before they are held against the labels."""
    shapes = [(2 * h, 2 * w) for h, w in SHAPES]
    points, strides = make_anchors(torch.tensor(shapes), STRIDES)
    box, points = 2 * torch.tensor(LABEL)[:, None], (points.float() * strides).T
    boxes = torch.cat([points - box[:2], box[2:] - points]) / strides[:, 0]
    margin, scores = BoxMargin(), torch.zeros(1, 1, 336)
    margin.look(branch(0.5), {"boxes": boxes[None], "scores": scores, "shapes": shapes, "strides": STRIDES})
    assert margin.ahead.item() == pytest.approx(0.75, abs=1e-4)
