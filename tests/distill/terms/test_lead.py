# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""How far a teacher is ahead in boxes and classes, and what a term weighs by it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ultralytics.distill.report.curves import leads, term_parts
from ultralytics.distill.terms.lead import MOST, BoxLead, ClassLead, precision
from ultralytics.distill.terms.several import SeveralDistillers
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
    return {**found, "target_scores": target, "target_boxes": label[None], "points": points[None]}


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
    lead = BoxLead()
    lead.look(branch(0.5), branch(1.0))
    assert lead.ahead.item() == pytest.approx(0.75)
    assert lead.weight(1.0).item() == pytest.approx(0.75) and lead.weight(0.03).item() == 1
    lead.look(branch(0.9), branch(0.9))  # the newer of two batches weighs 1 where the older weighs 0.95
    assert lead.ahead.item() == pytest.approx(0.95 * 0.75 / 1.95)


def test_classes_by_hand():
    """One anchor put before those with labels: precision 1/2, 2/3, 3/4, weighted 1, 0.5, 0.5, is 0.604 against 1."""
    lead = ClassLead()
    lead.look(ranking(1), ranking(0))
    assert lead.ahead.item() == pytest.approx(1 - (1 / 2 + 0.5 * 2 / 3 + 0.5 * 3 / 4) / 2)
    assert lead.weight(0.03) == 1 and lead.weight(0.8).item() == pytest.approx(0.395833 / 0.8, rel=1e-4)


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
    lead, surer = ClassLead(), ranking(2)
    surer["scores"] = 3 * surer["scores"] - 40
    lead.look(ranking(2), surer)
    assert lead.ahead.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "kind, ours, theirs", [(BoxLead, branch(0.9), branch(0.5)), (ClassLead, ranking(1), ranking(4))]
)
def test_a_student_that_is_ahead_is_left_alone(kind, ours, theirs):
    """A teacher that fits worse, or as well, has no weight."""
    lead, even = kind(), kind()
    lead.look(ours, theirs)
    even.look(ours, ours)
    assert lead.ahead < 0 and lead.weight(0.03) == 0 and even.weight(0.03) == 0


@pytest.mark.parametrize("kind, key", [(BoxLead, "boxes"), (ClassLead, "scores")])
def test_only_labels_count(kind, key):
    """A batch without labels, or with outputs that are no numbers, changes nothing; before any the weight is whole."""
    lead, empty, broken = kind(), branch(0.5), branch(0.5)
    empty["target_scores"] = torch.zeros(1, 1, 84)
    broken[key] = broken[key].clone().index_fill(2, torch.tensor([9]), torch.nan)
    for student in (empty, broken):
        lead.look(student, branch(1.0))
        assert lead.seen.eq(0).all() and lead.weight(0.03) == 1
    lead.look(branch(0.5), branch(1.0))
    before = lead.seen.clone()
    for pair in ((broken, branch(1.0)), (branch(1.0), broken)):
        lead.look(*pair)
    assert torch.equal(lead.seen, before)


def test_labels_of_classes_that_the_teacher_does_not_know_do_not_count():
    """A teacher is not held against a label of which it says nothing."""
    lead, student = BoxLead(known([0])), branch(0.5, classes=2)
    student["target_scores"] = student["target_scores"].clone().index_fill(1, torch.tensor([1]), 0.0)
    student["target_scores"][0, 1, 9], student["target_scores"][0, 0, 9] = 1.0, 0.0
    student["boxes"] = student["boxes"].clone()
    student["boxes"][0, :, 9] = 0  # its box is nowhere where the class is not compared
    lead.look(student, branch(1.0, classes=2))
    assert lead.ahead.item() == pytest.approx(0.75)


def test_classes_are_those_that_are_compared():
    """Of three classes the teacher knows the first, as its second; labels of the others are nothing to it."""
    student, teacher = ranking(1, classes=3), ranking(0, classes=2)
    student["target_scores"] = student["target_scores"].clone()
    student["target_scores"][0, 1:, 30:40] = 1.0
    teacher["scores"] = teacher["scores"].flip(1)
    lead = ClassLead(known([0], [1]))
    lead.look(student, teacher)
    assert lead.ahead.item() == pytest.approx(0.395833, rel=1e-4)


def test_one_class_for_all():
    """With `single_cls` the student's one class is held against the surest of the teacher's, label by label."""
    teacher = ranking(0, classes=2)
    teacher["scores"][0, 1, 9], teacher["scores"][0, 0, 9] = 9.0, 0.0
    lead = ClassLead(known([0], [0, 1], merge=True))
    lead.look(ranking(1), teacher)
    assert lead.ahead.item() == pytest.approx(0.395833, rel=1e-4)


def test_a_crowd_is_judged_by_its_surest_anchors():
    """Of more labelled anchors than are looked at the lowest scores are left out."""
    copies = -(-2 * MOST // 84)
    crowd = {k: v.repeat(1, 1, copies) for k, v in branch(0.5).items() if isinstance(v, torch.Tensor)}
    other = {**crowd, "boxes": branch(1.0)["boxes"].repeat(1, 1, copies)}
    crowd |= {"shapes": SHAPES * copies, "strides": STRIDES * copies}
    crowd["target_scores"] = torch.full((1, 1, 84 * copies), 0.1)
    crowd["target_scores"][..., :MOST] = 1.0
    other["boxes"][..., MOST:] = 0
    lead = BoxLead()
    lead.look(crowd, {**other, "shapes": crowd["shapes"], "strides": crowd["strides"]})
    assert lead.ahead.item() == pytest.approx(0.75)


def test_a_teacher_of_another_size():
    """Its sides are brought to the student's cells before they are held against the labels."""
    shapes = [(2 * h, 2 * w) for h, w in SHAPES]
    points, strides = make_anchors(torch.tensor(shapes), STRIDES)
    box, points = 2 * torch.tensor(LABEL)[:, None], (points.float() * strides).T
    boxes = torch.cat([points - box[:2], box[2:] - points]) / strides[:, 0]
    lead, scores = BoxLead(), torch.zeros(1, 1, 336)
    lead.look(branch(0.5), {"boxes": boxes[None], "scores": scores, "shapes": shapes, "strides": STRIDES})
    assert lead.ahead.item() == pytest.approx(0.75, abs=1e-4)


@pytest.mark.parametrize("yaml, branches", [("yolov8n.yaml", 1), ("yolo26n.yaml", 2), ("yolov8n-seg.yaml", 1)])
def test_terms_follow_it(yaml, branches, make_model, make_step, make_batch):
    """What the terms say stands in the parts; what they weigh follows the lead in boxes or classes of their branch."""
    student = make_model(yaml)
    step = make_step(student, make_model(yaml, seed=1, trained=True), distill_logit="auto")
    distiller = step.distiller
    batch = make_batch(task=student.task)
    step(batch)
    assert len(distiller.leads) == 2 * branches
    assert all(x.seen[2] == pytest.approx(0.05) for x in distiller.leads.values())
    names = [p.split("/")[0] for p in distiller.parts]
    parts = [torch.tensor(1.0)] * len(names)

    def pull(**ahead: float) -> float:
        for name, lead in distiller.leads.items():
            lead.seen.copy_(torch.tensor([0.5, 0.5 + ahead[name.split("/")[0]], 1.0]))
        return distiller.add_up(parts)["dlogit_loss"].item()

    shares = sum(distiller.shares.values()) or 1
    gains = {t.name: t.gain * shares for t in distiller.terms}
    boxes = sum(v for k, v in gains.items() if k in ("ld", "giou"))
    classes = sum(v for k, v in gains.items() if k in ("relative", "bckd"))
    none = pull(boxes=-0.1, classes=-0.1)
    assert boxes >= 4 and classes >= 1 and none == pytest.approx(sum(gains.values()) - boxes - classes, abs=1e-5)
    assert pull(boxes=0.03, classes=-0.1) - none == pytest.approx(boxes, rel=1e-5)
    assert pull(boxes=0.0, classes=0.015) - none == pytest.approx(classes / 2, rel=1e-4)
    kinds = [k.split("/")[:2] for k in distiller.notes()]
    assert sorted(kinds) == sorted([["lead", "boxes"], ["lead", "classes"]] * branches)
    assert any("lead" in k and k.endswith("seen") for k in distiller.state_dict())


def test_a_criterion_without_an_assigner(make_model, make_step, make_batch, log):
    """Where no label is assigned to any anchor nothing is measured, which is said once; box terms keep their weight."""
    student = make_model("yolov8n.yaml")
    step = make_step(student, make_model("yolov8n.yaml", seed=1), distill_logit="giou")
    criterion = student.init_criterion()
    student.criterion = lambda preds, batch: criterion(preds, batch)
    _, items = step(make_batch())
    (part,) = step.take_means().values()
    assert step.distiller.leads["boxes/one2many"].seen.eq(0).all()
    assert float(items["dlogit_loss"] if isinstance(items, dict) else items[-1]) == pytest.approx(part)
    step(make_batch())
    assert len([x for x in log() if "so who is ahead is not measured and each term keeps its whole weight" in x]) == 1


def test_turned_boxes_have_no_lead(make_model, make_distiller, monkeypatch):
    """Labels of rotated boxes are not held against upright ones: a user's loss that asks for it is told so."""
    monkeypatch.setattr("ultralytics.distill.losses.probiou.ProbIoU.lead", 0.03)
    models = [make_model("yolov8n-obb.yaml", seed=i) for i in (0, 1)]
    with pytest.raises(ValueError, match="'distill_logit=probiou': its 'lead' holds upright boxes .*; set its 'lead'"):
        make_distiller(*models, distill_logit="probiou")
    assert list(make_distiller(*models, distill_logit="relative").leads) == ["classes/one2many"]


@pytest.mark.parametrize("terms", ["[ld(lead=0),giou(lead=0)]", "[relative(lead=0),bckd(lead=0)]", "[bce,mse]"])
def test_no_term_asks(terms, make_model, make_step, make_batch):
    """Without a term that follows it nothing is measured, and a named weight stays as it is."""
    step = make_step(make_model("yolov8n.yaml"), make_model("yolov8n.yaml", seed=1), distill_logit=terms)
    step(make_batch())
    d = step.distiller
    assert not d.leads and not d.needs_targets and d.notes() == {}
    parts = [torch.tensor(1.0)] * len(d.parts)
    assert d.add_up(parts)["dlogit_loss"] == 2


def test_several_teachers(make_model, make_distiller):
    """Each has a lead of its own, which no reader of the columns takes for a term."""
    student, other = make_model("yolov8n.yaml"), make_model("yolov8n.yaml", seed=1)
    distillers = [make_distiller(student, other, distill_logit=x) for x in ("[bce,giou]", "[bce,ld]", "bce")]
    notes = SeveralDistillers(distillers, ["a.pt", "b.pt", "c.pt"]).notes()
    columns = {f"distill/{k}": [0.1] for k in (*notes, "t1/bce", "weight")}
    assert list(notes) == list(leads(columns)) == ["t1/lead/boxes", "t2/lead/boxes"]
    assert list(term_parts(columns)) == ["t1/bce"]


def test_own_average_is_not_held_against_the_student(make_model, make_distiller):
    """A student's running average is hardly ever ahead, and is not meant to be."""
    student = make_model("yolov8n.yaml")
    assert not make_distiller(student, student, distill_logit="auto").leads


def test_a_classifier_has_none(make_model, make_distiller):
    """No assigner says which of its anchors are labelled."""
    student = make_model("yolov8n-cls.yaml")
    distiller = make_distiller(student, make_model("yolov8n-cls.yaml", seed=1), distill_logit="bckd")
    assert not distiller.leads and distiller.notes() == {}


def test_a_loss_that_compares_something_else(make_model, make_distiller, monkeypatch):
    """A wrong name on a class of one's own is told with what would do."""
    monkeypatch.setattr("ultralytics.distill.losses.giou.GIoU.lead_of", "masks")
    with pytest.raises(ValueError, match="lead_of='masks' is unknown, valid are boxes, classes"):
        make_distiller(make_model("yolov8n.yaml"), make_model("yolov8n.yaml", seed=1), distill_logit="giou")
