# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What two heads have in common, and how their outputs are read."""

from __future__ import annotations

import pytest
import torch

from ultralytics.distill.arguments import read
from ultralytics.distill.heads.common import fit_response, outputs
from ultralytics.distill.upstream import LINE
from ultralytics.utils.tal import make_anchors

TASKS = {
    "yolov8n.yaml": ["classes", "boxes"],
    "yolov8n-seg.yaml": ["classes", "boxes", "masks"],
    "yolo26n-pose.yaml": ["classes", "boxes", "keypoints"],
    "yolo26n-obb.yaml": ["classes", "boxes", "angles"],
    "yolov8n-cls.yaml": ["classes"],
    "yolo26n-sem.yaml": ["classes", "class maps"],
    "yolo26n-depth.yaml": ["depth"],
    "yolov8n-rtdetr.yaml": [],
}


def fit(make_args, student, teacher, name, **more):
    """Return the fit of the one response term of a name."""
    config = read(make_args(distill_feat="none", distill_logit=name, **more))
    return fit_response(config.terms[0], config, student, teacher)


@pytest.mark.parametrize("name", TASKS)
def test_outputs(name, make_model):
    """Each head is known by what it predicts."""
    assert outputs(make_model(name).model[-1]) == TASKS[name]


@pytest.mark.parametrize("name", ["yolov8n-pose.yaml", "yolo26n-pose.yaml"])
def test_keypoints_are_where_upstream_puts_them(name, make_model, make_args):
    """Anchor plus keypoint, in cells, is what the head decodes; the logit of visibility is left as it is."""
    model = make_model(name)
    head, kpts = model.model[-1], torch.randn(2, 51, 84)
    anchors, strides = make_anchors(torch.tensor([[8.0, 8], [4, 4], [2, 2]]), head.stride)
    head.anchors, head.strides = anchors.T, strides.T
    decoded = (head.kpts_decode(kpts) if LINE == "8.4" else head.kpts_decode(2, kpts)).view(2, 17, 3, 84)
    found = fit(make_args, model, model, "pose").readers[0]({"kpts": kpts})["keypoints"]
    torch.testing.assert_close((found[:, :, :2] + anchors.T) * strides.T, decoded[:, :, :2])
    torch.testing.assert_close(found[:, :, 2].sigmoid(), decoded[:, :, 2])


def test_keypoints_of_unlike_families(make_model, make_args):
    """Each model is read in its own way, so the same place is the same place; another number of points is refused."""
    old, new = make_model("yolov8n-pose.yaml"), make_model("yolo26n-pose.yaml")
    readers = fit(make_args, old, new, "pose").readers
    half, whole = torch.full((1, 51, 1), 0.5), torch.full((1, 51, 1), 0.5)
    assert torch.equal(
        readers[0]({"kpts": half})["keypoints"][:, :, :2], readers[1]({"kpts": whole})["keypoints"][:, :, :2]
    )
    new.model[-1].kpt_shape = (5, 3)
    with pytest.raises(ValueError, match="equal keypoints, the student has 17 and the teacher 5"):
        fit(make_args, old, new, "pose")


def test_keypoints_have_the_criterions_sigmas(make_model, make_args):
    """How exactly each keypoint is labelled: as the data says, else COCO's or 1 / K, as in upstream's loss."""
    person, mouse = make_model("yolov8n-pose.yaml"), make_model("yolov8n-pose.yaml", kpt_shape=[4, 3])
    for model in (person, mouse):
        read = fit(make_args, model, model, "pose").readers[0]
        kpts = torch.zeros(1, 3 * model.model[-1].kpt_shape[0], 1)
        assert read({"kpts": kpts})["sigmas"].tolist() == pytest.approx(
            model.init_criterion().keypoint_loss.sigmas.tolist()
        )
    mouse.kpt_oks_sigmas = [0.1, 0.2, 0.3, 0.4]
    read = fit(make_args, mouse, mouse, "pose").readers[0]
    assert read({"kpts": torch.zeros(1, 12, 1)})["sigmas"].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_a_teachers_calibration_is_applied(make_model, make_args):
    """A finished depth model teaches its calibrated depth; student and learning teacher are read raw."""
    student, teacher = (make_model("yolo26n-depth.yaml", nc=1, seed=i) for i in range(2))
    for model in (student, teacher):
        model.model[-1].cal_a.fill_(1.2)
        model.model[-1].cal_b.fill_(-0.4)
    depth = 1 + torch.rand(1, 1, 4, 4)
    raw, calibrated = depth.log(), 1.2 * depth.log() - 0.4
    runs = [((student, teacher), {}, calibrated), ((student, student), {}, raw)]
    runs += [((student, teacher), {"distill_online": True}, raw)]
    for pair, more, expected in runs:
        readers = fit(make_args, *pair, "depth", task="depth", **more).readers
        torch.testing.assert_close(readers[0]({"depth": depth})["log_depth"], raw)
        torch.testing.assert_close(readers[1]({"depth": depth})["log_depth"], expected)


def test_a_softmax_over_one_class_is_refused(make_model, make_args):
    """One class, or one name in common, leaves nothing to compare; the sentence says what would."""
    one, three = make_model("yolo26n-sem.yaml", nc=1), make_model("yolo26n-sem.yaml")
    for student, teacher in ((one, one), (one, three), (three, one)):
        with pytest.raises(ValueError, match=r"only one is compared \('circle'\); use bce"):
            fit(make_args, student, teacher, "kl")
        fit(make_args, student, teacher, "bce")
        fit(make_args, student, teacher, "cwdmap")


def test_single_class_takes_all(make_model, make_args):
    """With `single_cls` a teacher of any classes teaches the one; without, an unknown name is refused."""
    student, teacher = make_model(nc=1), make_model()
    student.names = {0: "item"}
    assert fit(make_args, student, teacher, "bckd", single_cls=True).classes.merge
    with pytest.raises(ValueError, match="no class name is shared"):
        fit(make_args, student, teacher, "bckd")


def test_classes_that_are_trained(make_model, make_args):
    """With `classes` the others are not compared."""
    model = make_model()
    assert fit(make_args, model, model, "bckd").classes is None
    assert fit(make_args, model, model, "bckd", classes=[0, 2]).classes.student == [0, 2]
