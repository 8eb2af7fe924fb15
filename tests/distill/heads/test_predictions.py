# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Raw outputs of two heads in one form."""

from __future__ import annotations

import pytest
import torch

from ultralytics.distill.graph import capture
from ultralytics.distill.heads.predictions import branches, match_levels, scores_at, watch_assigner

P345, P2345, P3456 = [8.0, 16.0, 32.0], [4.0, 8.0, 16.0, 32.0], [8.0, 16.0, 32.0, 64.0]


def head_output(model, size=64, n=2):
    """Return a model's raw predictions in training mode."""
    with capture(model.train()) as seen:
        model(torch.rand(n, 3, size, size))
    return seen.output


def eval_output(model):
    """Return a model's decoded and raw predictions."""
    with torch.no_grad(), capture(model.eval()) as seen:
        model(torch.rand(2, 3, 64, 64))
    return seen.output


def ramp(strides, size=64, channels=2):
    """Make a branch whose scores hold each cell's x in pixels and whose boxes hold the level's stride."""
    shapes = [(int(size / v), int(size / v)) for v in strides]
    x = [((torch.arange(w) + 0.5) * v).repeat(h) for v, (h, w) in zip(strides, shapes)]
    level = [torch.full((h * w,), v) for v, (h, w) in zip(strides, shapes)]
    rows = {"scores": torch.cat(x), "boxes": torch.cat(level)}
    return {k: v.expand(1, channels, -1) for k, v in rows.items()} | {"shapes": shapes, "strides": list(strides)}


@pytest.mark.parametrize(
    "name, names, bins",
    [("yolov8n.yaml", ["one2many"], 16), ("yolov10n.yaml", ["one2many", "one2one"], 16),
     ("yolo26n.yaml", ["one2many", "one2one"], 1), ("yolov8n-seg.yaml", ["one2many"], 16)],
)  # fmt: skip
def test_branches_of_detectors(name, names, bins, make_model):
    """Every branch comes with class logits, box outputs, grids and strides, before any activation or decoding."""
    model = make_model(name)
    out = head_output(model)
    found = branches(out, P345)
    assert list(found) == names
    for b in found.values():
        assert b["scores"].shape == (2, 3, 84) and b["boxes"].shape == (2, 4 * bins, 84)
        assert b["shapes"] == [(8, 8), (4, 4), (2, 2)] and b["strides"] == P345
    assert found["one2many"]["scores"] is out.get("one2many", out)["scores"]


def test_eval_output_is_read_as_well(make_model):
    """The (decoded, raw) pair of a head in eval mode yields its raw part, for detectors and classifiers."""
    detector, classifier = (eval_output(make_model(n)) for n in ("yolov10n.yaml", "yolov8n-cls.yaml"))
    assert torch.equal(branches(detector, P345)["one2one"]["scores"], detector[1]["one2one"]["scores"])
    assert torch.equal(branches(classifier, [])["one2many"]["scores"].softmax(1), classifier[0])


def test_classifier_and_others(make_model):
    """A classifier has scores alone; heads without anchors have no branches, instead of wrong ones."""
    out = head_output(make_model("yolov8n-cls.yaml"))
    assert list(branches(out, [])) == ["one2many"] and branches(out, [])["one2many"] == {"scores": out}
    detr = make_model("yolov8n-rtdetr.yaml").train()
    assert branches(detr(torch.rand(1, 3, 64, 64)), []) == {}


def test_dense_heads(make_model):
    """A semantic head's main map are scores, its second map stays its own; a depth head has its depth alone."""
    main, second = out = head_output(make_model("yolo26n-sem.yaml"))
    assert main.shape != second.shape and branches(out, [32])["one2many"] == {"scores": main}
    depth = head_output(make_model("yolo26n-depth.yaml", nc=1))["depth"]
    assert depth.shape == (2, 1, 16, 16) and branches({"depth": depth}, []) == {"one2many": {"depth": depth}}


@pytest.mark.parametrize("name", ["yolov8n-seg.yaml", "yolo26n-seg.yaml"])
def test_prototypes(name, make_model):
    """Prototypes stand alone, also where the head has class maps beside them in training."""
    for b in branches(head_output(make_model(name)), P345).values():
        assert b["proto"].shape == (2, 32, 16, 16) and b["mask_coefficient"].shape == (2, 32, 84)


@pytest.mark.parametrize("student, teacher, common", [(P345, P2345, P345), (P2345, P345, P345), (P2345, P3456, P345),
                                                      (P3456, P345, P345)])  # fmt: skip
def test_levels_are_matched_by_stride(student, teacher, common):
    """Heads with P2 or P6 keep the levels that both have, in order, each with its own numbers."""
    s, t = match_levels(ramp(student), ramp(teacher))
    for branch in (s, t):
        assert branch["strides"] == common and branch["shapes"] == [(8, 8), (4, 4), (2, 2)]
        assert torch.equal(branch["scores"], ramp(common)["scores"])
        assert torch.equal(branch["boxes"], ramp(common)["boxes"])


def test_equal_levels_pass_untouched():
    """Where nothing differs, nothing is copied; a classifier has no levels."""
    s, t = ramp(P345), ramp(P345)
    a, b = match_levels(s, t)
    assert a is s and b is t
    s, t = {"scores": torch.rand(2, 3)}, {"scores": torch.rand(2, 3)}
    assert match_levels(s, t) == (s, t)


def test_dense_maps_are_resampled():
    """A teacher's class or depth map of another size is brought to the student's; its other entries are kept."""
    s, t = {"scores": torch.zeros(2, 3, 4, 6)}, {"scores": torch.ones(2, 5, 8, 12), "more": 1}
    a, b = match_levels(s, t)
    assert a is s and torch.equal(b["scores"], torch.ones(2, 5, 4, 6)) and b["more"] == 1
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    _, b = match_levels({"depth": torch.zeros(1, 1, 4, 4)}, {"depth": ramp})
    assert torch.equal(b["depth"][0, 0, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))


def test_lengths_of_unlike_grids_have_a_scale_for_each_side():
    """A cell of a wide teacher image is 6/18 of the student's in width, 4/8 in height: left, top, right, bottom."""
    s, t = ({"scores": torch.zeros(1, 1, h * w), "shapes": [(h, w)], "strides": [8.0]} for h, w in ((4, 6), (8, 18)))
    scale = match_levels(s, t)[1]["scale"]
    assert torch.allclose(scale, torch.tensor([1 / 3, 1 / 2, 1 / 3, 1 / 2])[:, None].expand(4, 24))


def test_matching_keeps_gradient_and_targets():
    """The student's side keeps its gradient, and its targets follow the levels."""
    s, t = ramp(P2345), ramp(P345)
    s["scores"] = s["scores"].clone().requires_grad_()
    s |= {"target_scores": s["scores"].detach().clone(), "fg_mask": s["boxes"][:, 0] == 16}
    s, t = match_levels(s, t)
    assert torch.equal(s["target_scores"], s["scores"]) and s["fg_mask"].sum() == 16 and s["fg_mask"].shape == (1, 84)
    s["scores"].sum().backward()


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("name, names", [("yolov8n.yaml", ["one2many"]), ("yolo26n.yaml", ["one2many", "one2one"])])
def test_assigner_is_watched(name, names, labels, make_model, make_batch):
    """What the label assigner decides is kept for each branch in the form of the scores; no hook stays behind."""
    model, batch = make_model(name).train(), make_batch(labels=labels)
    model.criterion = model.init_criterion()
    with watch_assigner(model.criterion) as found:
        model(batch)
    assert sorted(found) == sorted(names)
    for target in found.values():
        assert target["target_scores"].shape == (2, 3, 84) and target["fg_mask"].shape == (2, 84)
        assert target["fg_mask"].dtype == torch.bool and target["fg_mask"].any() == labels
        assert target["target_boxes"].shape == (2, 4, 84)
        assert target["points"][0, :, [0, 64, 83]].T.tolist() == [[4, 4], [8, 8], [48, 48]]  # pixels
        assert torch.equal(target["target_scores"].sum(1) > 0, target["fg_mask"])
        for i in range(2 * labels):  # each image has one box, so one class is assigned
            assert target["target_scores"][i].sum(1).nonzero().item() == int(batch["cls"][i])
    parts = [getattr(model.criterion, k, model.criterion) for k in names]
    assert not any(p.assigner._forward_hooks for p in parts)


def test_criterion_without_assigner(make_model, make_batch):
    """A classifier assigns nothing, so there is nothing to watch; its labels are the batch's."""
    model = make_model("yolov8n-cls.yaml")
    with watch_assigner(model.init_criterion()) as found:
        pass
    assert found == {}


def test_scores_at_a_level():
    """The teacher's logits of a level come as a map, the mean over its branches, on the grid that is asked for."""
    grid = torch.arange(6.0).view(1, 1, 2, 3)
    flat = torch.cat([torch.zeros(1, 1, 24), grid.flatten(2)], 2)
    branch = {"scores": flat, "shapes": [(4, 6), (2, 3)], "strides": [8.0, 16.0]}
    other = {**branch, "scores": flat + 2}
    assert torch.equal(scores_at({"one2many": branch}, 16.0, (2, 3)), grid)
    assert torch.equal(scores_at({"one2many": branch, "one2one": other}, 16.0, (2, 3)), grid + 1)
    assert scores_at({"one2many": branch}, 8.0, (2, 3)).abs().sum() == 0
    assert scores_at({"one2many": branch}, 16.0, (4, 6)).shape == (1, 1, 4, 6)
