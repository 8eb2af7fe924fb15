# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Classes of two models, and labels in the form of scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.distill.heads.classes import Classes, class_map, label_scores, select_classes

NAMES = st.lists(
    st.text("abcXYZ ", min_size=1, max_size=3), min_size=1, max_size=5, unique_by=lambda x: x.strip().lower()
)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(NAMES, NAMES)
def test_classes_are_paired_by_name(student, teacher):
    """Exactly the names that both know are paired, each once, whatever their order, case and blanks."""
    found = class_map(dict(enumerate(student)), dict(enumerate(teacher)))
    pairs = list(zip(found.student, found.teacher))

    def same(name):
        return name.strip().lower()

    assert [same(student[i]) for i, _ in pairs] == [same(teacher[j]) for _, j in pairs]
    assert {same(student[i]) for i, _ in pairs} == {same(x) for x in student} & {same(x) for x in teacher}
    assert len({j for _, j in pairs}) == len({i for i, _ in pairs}) == len(pairs)


def test_numbered_classes():
    """A model from a YAML has numbers for names: they match by position where both have as many, else by number."""
    numbers, named = {0: "0", 1: "1"}, {0: "cat", 1: "dog"}
    assert class_map(numbers, named) == class_map(named, numbers) == Classes([0, 1], [0, 1])
    assert class_map(numbers, {0: "0", 1: "1", 2: "2"}) == Classes([0, 1], [0, 1])
    assert class_map(numbers, {0: "cat", 1: "dog", 2: "cow"}) == Classes([], [])


def test_single_class():
    """With `single_cls` the one class stands for all of the teacher's, whatever their names."""
    item, animals = {0: "item"}, {0: "cat", 1: "dog"}
    assert class_map(item, animals) == Classes([], [])
    assert class_map(item, animals, single=True) == Classes([0], [0, 1], merge=True)
    assert class_map(item, {0: "cat"}, single=True) == Classes([0], [0])


def test_classes_that_are_not_trained():
    """With `classes` the student's labels of the others are left out, and so are the teacher's words on them."""
    names = {0: "cat", 1: "dog", 2: "cow"}
    assert class_map(names, names, trained=[2, 0]) == Classes([0, 2], [0, 2])
    assert class_map(names, {0: "cow", 1: "cat"}, trained=[2]) == Classes([2], [0])


def test_select_classes():
    """Scores and their targets are reduced to the common classes, in the student's order; the rest stays."""
    branch = {"scores": torch.rand(2, 4, 6), "target_scores": torch.rand(2, 4, 6), "boxes": torch.rand(2, 64, 6)}
    picked = select_classes(branch, torch.tensor([2, 0]))
    for key in ("scores", "target_scores"):
        assert torch.equal(picked[key], branch[key][:, [2, 0]])
    assert picked["boxes"] is branch["boxes"] and select_classes(branch, None) is branch
    assert select_classes({"scores": torch.rand(5, 3)}, torch.tensor([1]))["scores"].shape == (5, 1)


def test_merged_classes():
    """Several classes become one, the most confident at each anchor."""
    scores = torch.rand(2, 4, 6)
    merged = select_classes({"scores": scores}, torch.arange(4), merge=True)["scores"]
    assert torch.equal(merged, scores.max(1, keepdim=True).values)


def test_labels_of_a_classifier():
    """One-hot in the student's order; with some classes left out an image of another class has no label."""
    batch, scores = {"cls": torch.tensor([2.0, 0.0, 1.0])}, torch.rand(3, 3)
    assert torch.equal(label_scores(scores, 3, batch), torch.eye(3)[[2, 0, 1]])
    found = label_scores(scores[:, :2], 3, batch, torch.tensor([2, 0]))
    assert torch.equal(found[:2], torch.tensor([[1.0, 0.0], [0.0, 1.0]])) and found[2].isnan().all()
    assert torch.equal(label_scores(scores[:, :1], 3, batch, torch.tensor([0])), torch.tensor([[0.0], [1.0], [0.0]]))


@pytest.mark.parametrize("count", [1, 3])
def test_labels_of_a_semantic_segmentation(count):
    """Pixel by pixel at the scores' size; 255 is no label, and so is a class that is not there."""
    mask = torch.tensor([[0, 1], [1, 255]]).repeat_interleave(4, 0).repeat_interleave(4, 1)[None].byte()
    found = label_scores(torch.rand(1, count, 2, 2), count, {"semantic_mask": mask})[0].flatten(1).T
    expected = torch.tensor([[0.0], [1.0], [1.0]]) if count == 1 else torch.eye(3)[[0, 1, 1]]
    assert torch.equal(found[:3], expected) and found[3].isnan().all()
