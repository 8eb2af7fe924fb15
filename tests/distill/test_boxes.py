# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Labels and answers that mean the same object become one."""

import torch
from torchvision.ops import box_convert, box_iou

from ultralytics.distill.boxes import Boxes, merge, overlaps
from ultralytics.distill.labels import read_labels

A, B = [0.3, 0.3, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2]
NEAR = [0.31, 0.3, 0.2, 0.2]  # of A; they overlap by 0.9


def boxes(*rows, count=3):
    """Return objects from rows of image, box, class, score of the class, and score of the next class."""
    image, box, cls, top, other = zip(*rows) if rows else ([], [], [], [], [])
    scores = torch.zeros(len(rows), count)
    for i, (c, p, q) in enumerate(zip(cls, top, other)):
        scores[i, c], scores[i, (c + 1) % count] = p, q
    where = torch.tensor(image, dtype=torch.long), torch.tensor(box).view(-1, 4)
    return Boxes(*where, torch.tensor(cls, dtype=torch.long), scores)


def label(image, box, cls):
    """Return a row of a label."""
    return image, box, cls, 1.0, 0.0


def rows(found):
    """Return objects as plain rows."""
    values = zip(found.image.tolist(), found.boxes.tolist(), found.cls.tolist(), found.scores.tolist())
    return [(i, [round(v, 4) for v in b], c, [round(v, 4) for v in s]) for i, b, c, s in values]


def test_an_answer_takes_the_place_of_its_label():
    """One object of one class has the answer's box and scores; a label in another image is not touched by it."""
    found = merge(boxes(label(0, A, 1), label(1, A, 1)), boxes((0, NEAR, 1, 0.7, 0.2)), images=2)
    assert rows(found) == [(0, NEAR, 1, [0, 0.7, 0.2]), (1, A, 1, [0, 1, 0])]


def test_alpha_mixes_label_and_answer():
    """At alpha 0.25 a quarter of box and scores is the answer's; an answer without a label weighs a quarter."""
    told = boxes((0, NEAR, 1, 0.6, 0.2), (0, B, 0, 0.8, 0.0))
    found = merge(boxes(label(0, A, 1)), told, images=1, alpha=0.25)
    assert rows(found) == [(0, [0.3025, 0.3, 0.2, 0.2], 1, [0, 0.9, 0.05]), (0, B, 0, [0.2, 0, 0])]
    assert merge(boxes(label(0, A, 1)), told, images=1, alpha=0).boxes.tolist() == torch.tensor([A]).tolist()


def test_what_contradicts_or_repeats_a_label_is_left_out():
    """Another class on a label's place, and a second box of its class, are dropped; the label stays."""
    told = boxes((0, NEAR, 2, 0.9, 0.0), (0, A, 1, 0.5, 0.0), (0, NEAR, 1, 0.9, 0.0))
    assert rows(merge(boxes(label(0, A, 1)), told, images=1)) == [(0, A, 1, [0, 0.5, 0])]
    assert rows(merge(boxes(label(0, A, 1)), boxes((0, NEAR, 2, 0.9, 0.0)), images=1)) == [(0, A, 1, [0, 1, 0])]


def test_crowded_objects_pair_one_to_one():
    """Two labels of a class that overlap each take the answer that fits them best; the order of neither matters."""
    close = [0.35, 0.3, 0.2, 0.2]
    told = boxes((0, close, 1, 0.4, 0.0), (0, A, 1, 0.8, 0.0))
    found = merge(boxes(label(0, A, 1), label(0, close, 1)), told, images=1)
    assert [r[3][1] for r in rows(found)] == [0.8, 0.4]


def test_images_without_labels_or_answers():
    """Either may be missing in an image or in all; the objects stay in the order of the images."""
    told = boxes((0, B, 0, 0.3, 0.0), (2, B, 0, 0.3, 0.0))
    found = merge(boxes(label(1, A, 1), label(2, A, 1)), told, images=4)
    assert found.image.tolist() == [0, 1, 2, 2]
    assert rows(merge(boxes(), told, 4)) == rows(told)
    assert rows(merge(boxes(label(1, A, 1)), boxes(), 4)) == [(1, A, 1, [0, 1, 0])]
    assert len(merge(boxes(), boxes(), 4)) == 0


def test_overlap_is_that_of_torchvision():
    """Any two boxes of each image overlap as torchvision says."""
    a, b = torch.rand(2, 5, 4), torch.rand(2, 3, 4)
    found = overlaps(a, b)
    for i in range(2):
        torch.testing.assert_close(found[i], box_iou(*(box_convert(x[i], "cxcywh", "xyxy") for x in (a, b))))


def test_labels_are_read_in_the_order_of_the_images(make_batch):
    """A batch may list its labels in any order; an object's slot is its place among those of its image."""
    batch = make_batch(n=3, nc=4)
    batch["batch_idx"] = torch.tensor([2.0, 0.0, 2.0])
    found = read_labels(batch, 4)
    assert found.image.tolist() == [0, 2, 2] and found.slots().tolist() == [0, 0, 1]
    assert torch.equal(found.cls, batch["cls"].view(-1).long()[[1, 0, 2]])
    assert torch.equal(found.scores.argmax(1), found.cls) and found.padded(found.boxes, 3).shape == (3, 2, 4)
