# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A teacher of final boxes on the student's anchors: where a box is heard, and what the recipe makes of it."""

import pytest
import torch
from small_models import build_model

from ultralytics.distill.answers.final import final_boxes
from ultralytics.distill.arguments import read
from ultralytics.distill.graph import Capture
from ultralytics.distill.heads.classes import Classes
from ultralytics.distill.losses.response import anchor_points
from ultralytics.distill.terms.dense import build_dense, draw, spread

DETR = "yolov8n-rtdetr.yaml"
GRIDS, STRIDES = [(8, 8), (4, 4), (2, 2)], [8.0, 16.0, 32.0]
POINTS, CELLS, _ = anchor_points(GRIDS, STRIDES, torch.zeros(1))
EVERY = Classes([0, 1, 2], [0, 1, 2])


def branch(bins=16, images=1):
    """Return a branch of raw predictions for images of 64 pixels."""
    known = {"shapes": GRIDS, "strides": STRIDES}
    return {"one2many": {"scores": torch.zeros(images, 3, 84), "boxes": torch.zeros(images, 4 * bins, 84), **known}}


@pytest.fixture
def config(make_args):
    """The distillation arguments of a run."""
    return read(make_args(distill_logit="giou"))


def test_shares_by_hand():
    """A box as large as an anchor's square has share 1 there, (2/3)^4 a cell aside, (1/4)^4 at twice the stride."""
    share = spread(torch.tensor([[16.0, 16, 56, 56]]), POINTS, CELLS)[0]
    at = {(float(x), float(y), float(c)): float(v) for (x, y), c, v in zip(POINTS.T, CELLS, share)}
    assert at[36, 36, 8] == 1
    assert at[44, 36, 8] == at[36, 28, 8] == pytest.approx((2 / 3) ** 4)
    assert at[40, 40, 16] == pytest.approx(1 / 4**4)
    assert at[60, 36, 8] == at[4, 4, 8] == 0  # outside of it


@pytest.mark.parametrize("size", [0.5, 3.0, 20.0, 64.0])
def test_every_box_is_heard(size):
    """However small or large, and wherever it lies between the anchors, a box has an anchor of share 1."""
    centres = torch.rand(50, 2, generator=torch.Generator().manual_seed(0)) * (64 - size) + size / 2
    share = spread(torch.cat([centres - size / 2, centres + size / 2], 1), POINTS, CELLS)
    torch.testing.assert_close(share.amax(1), torch.ones(50))
    assert bool((share >= 0).all())


@pytest.mark.parametrize("bins", [16, 1])
def test_its_predictions_are_its_boxes(config, bins):
    """Read as any head's raw predictions, with non-maximum suppression, they give boxes and scores back."""
    first = [[0.7, 0.7, 0.5, 0.5, 0.1, 0.8, 0.0], [0.3, 0.4, 0.3, 0.2, 0.6, 0.0, 0.3]]
    said = [torch.tensor(x) for x in (first, [[0.5625, 0.5625, 0.05, 0.03, 0.0, 0.0, 0.4]], [[0.5] * 4 + [0.0] * 3])]
    cfg = {} if bins > 1 else {"reg_max": 1}
    dense = build_dense(config, build_model("yolov8n.yaml", **cfg), build_model(DETR))
    dense.reader.recorded = True
    batch = {"img": torch.zeros(3, 3, 64, 64), "answers": [x.numpy() for x in said]}
    out = dense(branch(bins, 3), Capture(), batch)["one2many"]
    found = final_boxes({**out, "feats": [torch.zeros(3, 1, *g) for g in GRIDS]}, STRIDES, EVERY, 3, 0.25)
    found = found[(found.image - found.scores.amax(1)).argsort()]
    assert found.image.tolist() == [0, 0, 1]
    wanted = torch.cat([said[0], said[1]])
    torch.testing.assert_close(found.boxes, wanted[:, :4], rtol=0, atol=1e-4)
    torch.testing.assert_close(found.scores, wanted[:, 4:], rtol=0, atol=2e-4)
    assert float(out["scores"][2].sigmoid().max()) == pytest.approx(1e-4, rel=1e-2)  # nothing is there


def test_an_anchor_hears_the_surest():
    """Of two boxes at an anchor the one with the larger product of share and score is told, with its classes alone."""
    boxes, best = torch.tensor([[16.0, 16, 56, 56], [0.0, 0, 64, 64]]), 4 * 8 + 4  # the anchor at 36, 36
    share = spread(boxes, POINTS, CELLS)[:, best]
    assert share[0] == 1 and 0 < share[1] < 0.2
    scores, sides = draw(boxes, torch.tensor([[0.4, 0.0], [0.0, 0.9]]), POINTS, CELLS)
    assert scores[:, best].tolist() == pytest.approx([0.4, 0.0]) and sides[:, best].tolist() == [-20, -20, 20, 20]
    scores, sides = draw(boxes, torch.tensor([[0.01, 0.0], [0.0, 0.9]]), POINTS, CELLS)
    assert scores[:, best].tolist() == pytest.approx([0.0, 0.9 * float(share[1])]) and sides[0, best] == -36


@pytest.mark.parametrize("kind", ["live", "file"])
def test_the_recipe_teaches(make_step, make_batch, kind, log):
    """RT-DETR's boxes reach the student through relative, ld and giou; its answers from a batch have the same value."""
    student, teacher = build_model("yolov8n.yaml", trained=True), build_model(DETR, seed=5, trained=True)
    for layer in teacher.model[-1].dec_score_head:
        layer.bias.data.zero_(), layer.weight.data.mul_(40)
    step, batch = make_step(student, teacher, distill_logit="auto"), make_batch(n=2)
    dense = step.distiller.dense
    assert [t.name for t in step.distiller.terms] == ["relative", "ld", "giou"] and len(step.distiller.margins) == 2
    assert any(
        "final boxes are spread over the student's anchors, for relative, ld, giou to compare" in x for x in log()
    )
    value = step.compute(dict(batch))[2]["dlogit_loss"]
    if kind == "file":
        found = dense.reader(step.teacher(batch["img"]), batch)
        assert len(found) > 4
        told = [torch.cat([found.boxes, found.scores], 1)[found.image == i].numpy() for i in range(2)]
        step = make_step(student, teacher, distill_logit="auto")
        step.distiller.dense.reader.recorded = True
        again = step.compute({**batch, "answers": told})[2]["dlogit_loss"]
        torch.testing.assert_close(again, value, rtol=1e-4, atol=1e-4)
        value = again
    value.backward()
    grads = {n: p.grad for n, p in student.named_parameters() if p.grad is not None}
    assert float(grads["model.0.conv.weight"].norm()) > 0 and all(g.isfinite().all() for g in grads.values())
    assert all(p.grad is None for p in step.teacher.model.parameters())


def test_classes_that_only_one_knows(make_distiller, log):
    """The shared classes alone are compared, under the student's numbers, and a line names them."""
    student, teacher = build_model("yolov8n.yaml"), build_model(DETR)
    student.names, teacher.names = {0: "a", 1: "b", 2: "c"}, {0: "c", 1: "x", 2: "a"}
    distiller = make_distiller(student, teacher, distill_logit="relative")
    assert distiller.terms[0].index_t.tolist() == distiller.terms[0].index_s.tolist() == [0, 2]
    assert distiller.dense.reader.classes == Classes([0, 2], [2, 0])
    assert any("compare 2 of 3 classes by name: a (0 <- 0), c (2 <- 2)" in x for x in log())


def test_where_there_is_none(config):
    """A teacher with raw predictions, a student without anchors, rotated boxes, other classes."""
    detr = build_model(DETR)
    assert build_dense(config, build_model("yolov8n.yaml"), build_model("yolov8n.yaml")) is None
    assert build_dense(config, detr, build_model(DETR)) is None
    assert build_dense(config, build_model("yolov8n-obb.yaml"), detr) is None
    assert build_dense(config, build_model("yolov8n-cls.yaml"), detr) is None
    assert build_dense(config, build_model("yolov8n-seg.yaml"), detr) is not None  # boxes alone are shared
    other = build_model(DETR)
    other.names = {0: "x", 1: "y", 2: "z"}
    student = build_model("yolov8n.yaml")
    student.names = {0: "a", 1: "b", 2: "c"}
    assert build_dense(config, student, other) is None
