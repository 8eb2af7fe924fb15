# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A teacher that sees images of another size: what the student hears of it at each of its own anchors."""

from __future__ import annotations

import pytest
import torch

from ultralytics.distill.heads.predictions import PER_ANCHOR, match_levels
from ultralytics.distill.losses import L1, GIoU, Pose, ProbIoU
from ultralytics.distill.losses.response import anchor_points, decode, reach

STRIDES = [8.0, 16.0, 32.0]
STUDENT = (64, 96)  # height and width of its images
SIZES = [(128, 192), (96, 160), (32, 64), (64, 96), (224, 96)]  # the teacher's: double, odd, smaller, equal, mixed


def branch(size, bins=1, seed=0, n=2, nc=3):
    """Return random predictions for images of a size, and all that a head may have for each anchor."""
    g = torch.Generator().manual_seed(seed)
    shapes = [(int(size[0] / v), int(size[1] / v)) for v in STRIDES]
    a = sum(h * w for h, w in shapes)
    channels = dict.fromkeys(PER_ANCHOR, 4) | {"scores": nc, "boxes": 4 * bins}
    channels = {k: v for k, v in channels.items() if k not in {"angle", "target_scores", "target_boxes", "points"}}
    rows = {k: torch.rand(n, c, a, generator=g) * 3 for k, c in channels.items()}
    return rows | {"shapes": shapes, "strides": list(STRIDES)}


def of_one_object(size, box, angle=None, surest=(0.5, 0.5)):
    """Return predictions whose every anchor has one and the same box, and a corner of it for a keypoint.

    Args:
        size (tuple): Height and width of the images.
        box (tuple): Left, top, right, bottom, or with an angle centre and sides, in shares of the image.
        angle (float, optional): Of a rotated box.
        surest (tuple): Where the scores are highest, in shares of the image.
    """
    shapes = [(int(size[0] / v), int(size[1] / v)) for v in STRIDES]
    points, strides, (height, width) = anchor_points(shapes, STRIDES, torch.zeros(1))
    image = torch.tensor([width, height])[:, None]
    a, b = (torch.tensor(x)[:, None] * image for x in (box[:2], box[2:]))
    if angle is None:
        sides, corner = torch.cat([points - a, b - points]), b
    else:  # distances lie along the turned axes
        turn = torch.tensor(angle)
        turn = torch.stack([torch.stack([turn.cos(), turn.sin()]), torch.stack([-turn.sin(), turn.cos()])])
        off, corner = turn @ (points - a), a
        sides = torch.cat([off + b / 2, b / 2 - off])
    scores = 5 - (points / image - torch.tensor(surest)[:, None]).norm(dim=0) * 9
    more = {"kpts": ((corner - points) / strides)[None]}
    more |= {"angle": torch.full((1, 1, points.shape[1]), angle)} if angle is not None else {}
    return {
        "scores": scores[None, None],
        "boxes": (sides / strides)[None],
        "shapes": shapes,
        "strides": STRIDES,
        **more,
    }


@pytest.mark.parametrize("size", SIZES)
def test_the_surest_cell_is_heard_whole(size):
    """Of the teacher's cells that a student's cell meets, the most confident answers, with all that it predicts."""
    student, teacher = branch(STUDENT), branch(size, seed=1)
    s, t = match_levels(student, teacher)
    assert s["shapes"] == t["shapes"] == student["shapes"] and s["scores"] is student["scores"]
    start = 0
    for (h, w), (u, v), levels in zip(
        s["shapes"], teacher["shapes"], t["scores"].split([h * w for h, w in s["shapes"]], 2)
    ):
        maps = {k: teacher[k][..., start : start + u * v].unflatten(2, (u, v)) for k in PER_ANCHOR if k in teacher}
        first = sum(a * b for a, b in s["shapes"][: s["shapes"].index((h, w))])
        for i in range(h):
            for j in range(w):
                rows = slice(i * u // h, -(-(i + 1) * u // h)), slice(j * v // w, -(-(j + 1) * v // w))
                best = maps["scores"][1][:, rows[0], rows[1]].amax(0)
                r, c = divmod(int(best.argmax()), best.shape[1])
                for k, x in maps.items():
                    assert torch.equal(t[k][1, :, first + i * w + j], x[1, :, rows[0].start + r, rows[1].start + c])
        assert levels.shape[2] == h * w
        start += u * v


@pytest.mark.parametrize("bins", [1, 16])
@pytest.mark.parametrize("size", SIZES)
def test_boxes_stay_where_they_are(size, bins):
    """What a student's anchor hears is, in shares of the image, a box that the teacher has predicted."""

    def shares(sides, like):
        """Return boxes (N, A, 4) from corner to corner in shares of the image."""
        points, strides, (height, width) = anchor_points(like["shapes"], like["strides"], sides)
        return decode(sides, points, strides, xywh=False) / torch.tensor([width, height] * 2)

    student, teacher = branch(STUDENT), branch(size, bins, seed=1)
    _, t = match_levels(student, teacher)
    found, given = shares(reach(t), t), shares(reach(teacher), teacher)
    assert ("scale" in t) == (size != STUDENT)
    for i in range(2):
        assert torch.cdist(found[i], given[i], p=1).amin(1).max() < 1e-5


def test_by_hand():
    """Two cells of 8 pixels against one: the right one is surer, its box 2, 1, 3, 1 cells of its own.

    Its anchor is a quarter of the student's cell to the right of the student's. Left: 2 / 2 - 1/4, right: 3 / 2 + 1/4.
    """
    teacher = {"scores": torch.tensor([[[0.0, 1.0]]]), "boxes": torch.tensor([[[9.0, 2], [9, 1], [9, 3], [9, 1]]])}
    teacher |= {"shapes": [(1, 2)], "strides": [8.0]}
    student = {"scores": torch.zeros(1, 1, 1), "boxes": torch.zeros(1, 4, 1), "shapes": [(1, 1)], "strides": [8.0]}
    _, t = match_levels(student, teacher)
    assert reach(t).flatten().tolist() == [0.75, 1, 1.75, 1]


@pytest.mark.parametrize("loss", [GIoU(), L1(), Pose()])
@pytest.mark.parametrize("size", SIZES)
def test_one_object_in_images_of_two_sizes(loss, size):
    """A box, and a keypoint, at the same place of the image is equal; elsewhere it is not."""
    student, teacher = of_one_object(STUDENT, (0.1, 0.2, 0.7, 0.8)), of_one_object(size, (0.1, 0.2, 0.7, 0.8))

    def compare(teacher):
        """Return the loss, of keypoints as a reader adds them."""
        return loss(*({**x, "keypoints": x["kpts"].unflatten(1, (1, 2))} for x in match_levels(student, teacher)))

    assert compare(teacher) < 1e-5
    assert compare(of_one_object(size, (0.2, 0.2, 0.9, 0.8))) > 1e-2


@pytest.mark.parametrize("size, angle", [((256, 384), 0.7), ((192, 288), -0.4), ((64, 96), 1.2), ((256, 192), 0.0)])
def test_one_turned_object_in_images_of_two_sizes(size, angle):
    """A turned box keeps its place where the ratio of the sides is kept, for the term and for the margin.

    One that is not turned stretches with the image.
    """
    images = (128, 192)
    student, teacher = (of_one_object(x, (0.5, 0.4, 0.3, 0.4), angle) for x in (images, size))
    s, t = match_levels(student, teacher)
    elsewhere = match_levels(student, of_one_object(size, (0.6, 0.4, 0.3, 0.4), angle))[1]
    assert ProbIoU()(s, t) < 1e-4 and ProbIoU()(s, elsewhere) > 0.1
    if angle:
        torch.testing.assert_close(reach(t), s["boxes"], rtol=0, atol=1e-4)


def test_small_and_sure_is_not_drowned():
    """One sure cell of four keeps its score: the mean of their logits would say that nothing is there."""
    student, teacher = branch((64, 64)), branch((128, 128))
    teacher["scores"] = torch.full_like(teacher["scores"], -8)
    teacher["scores"][:, 1, 33] = 2.0  # third row of 16 cells, second column
    _, t = match_levels(student, teacher)
    assert (t["scores"] == 2).nonzero().tolist() == [[0, 1, 8], [1, 1, 8]]  # second row of 8 cells, first column


def test_gradients_go_nowhere_new():
    """The student's side is untouched, and a jointly trained teacher's predictions keep their graph."""
    student, teacher = branch(STUDENT), branch((128, 192))
    teacher["boxes"].requires_grad_()
    s, t = match_levels(student, teacher)
    assert all(s[k] is student[k] for k in PER_ANCHOR if k in student)
    t["boxes"].sum().backward()
    assert teacher["boxes"].grad.sum() == t["boxes"].numel()
