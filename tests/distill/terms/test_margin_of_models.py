# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The teacher margin of real models: which terms follow it, and that neither of two equal models is ahead."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ultralytics.cfg import get_cfg
from ultralytics.distill.heads.predictions import branches, watch_assigner
from ultralytics.distill.report.curves import margins, term_parts
from ultralytics.distill.terms.margin import BoxMargin, ClassMargin
from ultralytics.distill.terms.several import SeveralDistillers
from ultralytics.distill.upstream import LINE, load_checkpoint
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.tal import TaskAlignedAssigner

STRIDES = [8.0, 16.0, 32.0]
SHARED = Path(__file__).resolve().parents[4] / "shared/data"


@pytest.mark.parametrize(
    "yaml, branches",
    [
        ("yolov8n.yaml", 1),
        ("yolo26n.yaml", 2),
        ("yolov8n-seg.yaml", 1),
        ("yolo26n-seg.yaml", 2),
        ("yolo26n-pose.yaml", 2),
    ],
)
def test_terms_follow_it(yaml, branches, make_model, make_step, make_batch):
    """What the terms say stands in the parts; what they weigh follows the margin of their branch."""
    student = make_model(yaml)
    step = make_step(student, make_model(yaml, seed=1, trained=True), distill_logit="auto")
    distiller = step.distiller
    batch = make_batch(task=student.task)
    step(batch)
    assert len(distiller.margins) == 2 * branches
    assert all(x.seen[2] == pytest.approx(0.05) for x in distiller.margins.values())
    names = [p.split("/")[0] for p in distiller.parts]
    parts = [torch.tensor(1.0)] * len(names)

    def pull(**ahead: float) -> float:
        for name, margin in distiller.margins.items():
            margin.seen.copy_(torch.tensor([0.5, 0.5 + ahead[name.split("/")[0]], 1.0]))
        return distiller.add_up(parts)["dlogit_loss"].item()

    shares = sum(distiller.branch_weights.values()) or 1
    gains = {t.name: t.gain * shares for t in distiller.terms}
    boxes = sum(v for k, v in gains.items() if k in ("ld", "giou"))
    classes = sum(v for k, v in gains.items() if k in ("relative", "bckd"))
    none = pull(boxes=-0.1, classes=-0.1)
    assert boxes >= 4 and classes >= 1 and none == pytest.approx(sum(gains.values()) - boxes - classes, abs=1e-5)
    assert pull(boxes=0.03, classes=-0.1) - none == pytest.approx(boxes, rel=1e-5)
    assert pull(boxes=0.0, classes=0.015) - none == pytest.approx(classes / 2, rel=1e-4)
    kinds = [k.split("/")[:2] for k in distiller.notes()]
    assert sorted(kinds) == sorted([["margin", "boxes"], ["margin", "classes"]] * branches)
    assert any("margin" in k and k.endswith("seen") for k in distiller.state_dict())


@pytest.mark.parametrize(
    "yaml, terms",
    [("yolov8n.yaml", "[relative,giou]"), ("yolov8n-obb.yaml", "relative"), ("yolo26n-pose.yaml", "giou")],
)
def test_the_roles_may_be_swapped(yaml, terms, make_model, make_step, make_batch):
    """Each model is held against the labels at anchors of its own, so the other's margin is the same below zero."""
    models = [make_model(yaml, seed=i, trained=True) for i in (0, 1)]
    found = []
    for student, teacher in (models, models[::-1]):
        step = make_step(deepcopy(student), teacher, distill_logit=terms)
        for m in step.student.modules():
            m.train(not isinstance(m, torch.nn.BatchNorm2d))  # else it would see other statistics than its teacher
        step(make_batch(task=student.task))
        found.append(step.distiller.notes())
    assert all(abs(v) > 1e-3 for v in found[0].values())
    assert found[1] == pytest.approx({k: -v for k, v in found[0].items()}, abs=5e-4)  # a teacher's layers are fused


def test_a_criterion_without_an_assigner(make_model, make_step, make_batch, log):
    """Where no label is assigned to any anchor nothing is measured, which is said once; box terms keep their weight."""
    student = make_model("yolov8n.yaml")
    step = make_step(student, make_model("yolov8n.yaml", seed=1), distill_logit="giou")
    criterion = student.init_criterion()
    student.criterion = lambda preds, batch: criterion(preds, batch)
    _, items = step(make_batch())
    (part,) = step.take_means().values()
    assert step.distiller.margins["boxes/one2many"].seen.eq(0).all()
    assert float(items["dlogit_loss"] if isinstance(items, dict) else items[-1]) == pytest.approx(part)
    step(make_batch())
    assert len([x for x in log() if "teacher margin is not measured and each term keeps its whole weight" in x]) == 1


class ByKeywords(TaskAlignedAssigner):
    """A label assigner that is given the labels by their names."""

    def __call__(self, scores, boxes, points, labels, label_boxes, mask):
        """Hand them on."""
        given = {"gt_labels": labels, "gt_bboxes": label_boxes, "mask_gt": mask}
        return super().__call__(scores, boxes, points, **given)


def test_an_assigner_that_is_called_otherwise(make_model, make_step, make_batch, log):
    """Without the labels' place no margin is measured, which is said; terms that read the targets have them."""
    student = make_model("yolov8n.yaml")
    step = make_step(student, make_model("yolov8n.yaml", seed=1), distill_logit="[giou,bckd(norm=npos)]")
    student.criterion = student.init_criterion()
    student.criterion.assigner.__class__ = ByKeywords
    step(make_batch())
    assert all(v > 0 for v in step.take_means().values())
    assert all(m.seen.eq(0).all() for m in step.distiller.margins.values())
    assert len([x for x in log() if "teacher margin is not measured" in x]) == 1


def test_turned_boxes_have_no_margin(make_model, make_distiller, monkeypatch):
    """Labels of rotated boxes are not held against upright ones: a user's loss that asks for it is told so."""
    monkeypatch.setattr("ultralytics.distill.losses.probiou.ProbIoU.margin", 0.03)
    models = [make_model("yolov8n-obb.yaml", seed=i) for i in (0, 1)]
    with pytest.raises(
        ValueError, match="'distill_logit=probiou': its 'margin' holds upright boxes .*; set its 'margin'"
    ):
        make_distiller(*models, distill_logit="probiou")
    assert list(make_distiller(*models, distill_logit="relative").margins) == ["classes/one2many"]


@pytest.mark.parametrize("terms", ["[ld(margin=0),giou(margin=0)]", "[relative(margin=0),bckd(margin=0)]", "[bce,mse]"])
def test_no_term_asks(terms, make_model, make_step, make_batch):
    """Without a term that follows it nothing is measured, and a named weight stays as it is."""
    step = make_step(make_model("yolov8n.yaml"), make_model("yolov8n.yaml", seed=1), distill_logit=terms)
    step(make_batch())
    d = step.distiller
    assert not d.margins and not d.needs_targets and d.notes() == {}
    parts = [torch.tensor(1.0)] * len(d.parts)
    assert d.add_up(parts)["dlogit_loss"] == 2


def test_an_older_attribute_is_said(make_model, make_distiller, monkeypatch, log):
    """A loss of one's own that still says `lead` is told what it is called now; of others nothing is said."""
    student = make_model("yolov8n.yaml")
    make_distiller(student, make_model("yolov8n.yaml", seed=1), distill_logit="bce")
    assert not [x for x in log() if "'lead'" in x]
    monkeypatch.setattr("ultralytics.distill.losses.bckd.BCE.lead", 0.03, raising=False)
    distiller = make_distiller(student, make_model("yolov8n.yaml", seed=1), distill_logit="bce")
    assert [x for x in log() if "'distill_logit=bce': its 'lead' has no effect; call it 'margin'." in x]
    assert not distiller.margins


def test_several_teachers(make_model, make_distiller):
    """Each has a margin of its own, which no reader of the columns takes for a term."""
    student, other = make_model("yolov8n.yaml"), make_model("yolov8n.yaml", seed=1)
    distillers = [make_distiller(student, other, distill_logit=x) for x in ("[bce,giou]", "[bce,ld]", "bce")]
    notes = SeveralDistillers(distillers, ["a.pt", "b.pt", "c.pt"]).notes()
    columns = {f"distill/{k}": [0.1] for k in (*notes, "t1/bce", "weight")}
    assert list(notes) == list(margins(columns)) == ["t1/margin/boxes", "t2/margin/boxes"]
    assert list(term_parts(columns)) == ["t1/bce"]


def test_own_average_is_not_held_against_the_student(make_model, make_distiller):
    """A student's running average is hardly ever ahead, and is not meant to be."""
    student = make_model("yolov8n.yaml")
    assert not make_distiller(student, student, distill_logit="auto").margins


def test_a_classifier_has_none(make_model, make_distiller):
    """No assigner says which of its anchors are labelled."""
    student = make_model("yolov8n-cls.yaml")
    distiller = make_distiller(student, make_model("yolov8n-cls.yaml", seed=1), distill_logit="bckd")
    assert not distiller.margins and distiller.notes() == {}


def test_a_loss_that_compares_something_else(make_model, make_distiller, monkeypatch):
    """A wrong name on a class of one's own is told with what would do."""
    monkeypatch.setattr("ultralytics.distill.losses.giou.GIoU.margin_of", "masks")
    with pytest.raises(ValueError, match="'margin_of=masks' is unknown; choose from boxes, classes"):
        make_distiller(make_model("yolov8n.yaml"), make_model("yolov8n.yaml", seed=1), distill_logit="giou")


@pytest.fixture(scope="module")
def photographs() -> tuple:
    """The official model, as it trains but for BatchNorm, and photographs with their labels, then all mirrored."""
    model = load_checkpoint(SHARED / "weights/yolov8n.pt")[0].float().train()
    model.args = get_cfg()
    for m in model.modules():
        m.train(not isinstance(m, torch.nn.BatchNorm2d))
    images = sorted((SHARED / "coco128/images/val").glob("*.jpg"))[:4]
    batch: dict = {"img": [], "cls": [], "bboxes": [], "batch_idx": []}
    for i, file in enumerate(images):
        label = SHARED / "coco128/labels/val" / f"{file.stem}.txt"
        rows = torch.from_numpy(np.loadtxt(label, ndmin=2)).float() if label.is_file() else torch.zeros(0, 5)
        image = torch.from_numpy(cv2.resize(cv2.imread(str(file)), (320, 320))[..., ::-1].copy())
        new = {"img": image.permute(2, 0, 1).float() / 255, "cls": rows[:, :1], "bboxes": rows[:, 1:]}
        for k, v in {**new, "batch_idx": torch.full((len(rows),), float(i))}.items():
            batch[k].append(v)
    left = {k: torch.stack(v) if k == "img" else torch.cat(v) for k, v in batch.items()}
    x, *sides = left["bboxes"].split(1, 1)
    right = {
        "img": left["img"].flip(3),
        "bboxes": torch.cat([1 - x, *sides], 1),
        "batch_idx": left["batch_idx"] + len(images),
    }
    return model, {k: torch.cat([v, right.get(k, v)]) for k, v in left.items()}


def mirrored(found: dict) -> dict:
    """Return raw predictions on a mirrored image, brought back: sides swap, and so do the cells of a row."""
    n, c, anchors = found["boxes"].shape
    boxes = found["boxes"].view(n, 4, c // 4, anchors)[:, [2, 1, 0, 3]].reshape(n, c, anchors)
    sizes = [f.shape[2:] for f in found["feats"]]
    flipped = {
        k: torch.cat(
            [p.unflatten(2, s).flip(3).flatten(2) for p, s in zip(v.split([s.numel() for s in sizes], 2), sizes)], 2
        )
        for k, v in (("boxes", boxes), ("scores", found["scores"]))
    }
    return {**flipped, "feats": found["feats"]}


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the official yolov8n.pt and photographs")
@pytest.mark.skipif(
    LINE == "8.3", reason="raw predictions of 8.3 have another form; the swapped roles are tested there"
)
@pytest.mark.parametrize("topk", [{"tal_topk": 10}, {"tal_topk": 7, "tal_topk2": 1}])
def test_a_model_is_not_ahead_of_its_mirror_image(topk, photographs):
    """Equal by construction: neither boxes nor classes say that one of the two is better, with either assigner.

    On the student's anchors alone it was behind by 0.02 in boxes and 0.09 in classes.
    """
    model, batch = photographs
    with torch.no_grad():
        seen = model(batch["img"])
        other = mirrored(model(batch["img"].flip(3)))
        with watch_assigner(criterion := v8DetectionLoss(model, **topk)) as assigned:
            criterion.loss(seen, batch)
    student = {**branches(seen, STRIDES)["one2many"], **assigned["one2many"]}
    for margin in (BoxMargin(), ClassMargin()):
        margin.look(student, branches(other, STRIDES)["one2many"])
        assert abs(margin.ahead) < 2e-3 and 0.3 < margin.seen[0] / margin.seen[2] < 1
