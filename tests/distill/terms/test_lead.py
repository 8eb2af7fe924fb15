# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""How far a teacher's boxes are ahead, and what a box term weighs by it."""

from __future__ import annotations

import pytest
import torch

from ultralytics.distill.report.curves import leads, term_parts
from ultralytics.distill.terms.lead import MOST, Lead
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


def test_by_hand():
    """Half of each side is a quarter of the area: IoU 0.25 against 1, on every level and in pixels; 0.75 ahead."""
    lead = Lead()
    lead.look(branch(0.5), branch(1.0))
    assert lead.ahead.item() == pytest.approx(0.75)
    assert lead.weight(1.0).item() == pytest.approx(0.75) and lead.weight(0.03).item() == 1
    lead.look(branch(0.9), branch(0.9))  # the newer of two batches weighs 1 where the older weighs 0.95
    assert lead.ahead.item() == pytest.approx(0.95 * 0.75 / 1.95)


def test_a_student_that_is_ahead_is_left_alone():
    """A teacher whose boxes fit worse, or as well, has no weight."""
    lead = Lead()
    lead.look(branch(0.9), branch(0.5))
    assert lead.ahead < 0 and lead.weight(0.03) == 0


def test_only_labels_count():
    """A batch without labels, or with boxes that are no numbers, changes nothing; before any the weight is whole."""
    lead, empty, broken = Lead(), branch(0.5), branch(0.5)
    empty["target_scores"] = torch.zeros(1, 1, 84)
    broken["boxes"] = broken["boxes"].clone().index_fill(2, torch.tensor([9]), torch.nan)
    for student in (empty, broken):
        lead.look(student, branch(1.0))
        assert lead.seen.eq(0).all() and lead.weight(0.03) == 1
    lead.look(branch(0.5), branch(1.0))
    before = lead.seen.clone()
    lead.look(broken, branch(1.0))
    assert torch.equal(lead.seen, before)


def test_labels_of_classes_that_the_teacher_does_not_know_do_not_count():
    """A teacher is not held against a label of which it says nothing."""
    lead, student = Lead(torch.tensor([0])), branch(0.5, classes=2)
    student["target_scores"] = student["target_scores"].clone().index_fill(1, torch.tensor([1]), 0.0)
    student["target_scores"][0, 1, 9], student["target_scores"][0, 0, 9] = 1.0, 0.0
    student["boxes"] = student["boxes"].clone()
    student["boxes"][0, :, 9] = 0  # its box is nowhere where the class is not compared
    lead.look(student, branch(1.0, classes=2))
    assert lead.ahead.item() == pytest.approx(0.75)


def test_a_crowd_is_judged_by_its_surest_anchors():
    """Of more labelled anchors than are looked at the lowest scores are left out."""
    copies = -(-2 * MOST // 84)
    crowd = {k: v.repeat(1, 1, copies) for k, v in branch(0.5).items() if isinstance(v, torch.Tensor)}
    other = {**crowd, "boxes": branch(1.0)["boxes"].repeat(1, 1, copies)}
    crowd |= {"shapes": SHAPES * copies, "strides": STRIDES * copies}
    crowd["target_scores"] = torch.full((1, 1, 84 * copies), 0.1)
    crowd["target_scores"][..., :MOST] = 1.0
    other["boxes"][..., MOST:] = 0
    lead = Lead()
    lead.look(crowd, {**other, "shapes": crowd["shapes"], "strides": crowd["strides"]})
    assert lead.ahead.item() == pytest.approx(0.75)


def test_a_teacher_of_another_size():
    """Its sides are brought to the student's cells before they are held against the labels."""
    shapes = [(2 * h, 2 * w) for h, w in SHAPES]
    points, strides = make_anchors(torch.tensor(shapes), STRIDES)
    box, points = 2 * torch.tensor(LABEL)[:, None], (points.float() * strides).T
    boxes = torch.cat([points - box[:2], box[2:] - points]) / strides[:, 0]
    lead, scores = Lead(), torch.zeros(1, 1, 336)
    lead.look(branch(0.5), {"boxes": boxes[None], "scores": scores, "shapes": shapes, "strides": STRIDES})
    assert lead.ahead.item() == pytest.approx(0.75, abs=1e-4)


@pytest.mark.parametrize("yaml, branches", [("yolov8n.yaml", 1), ("yolo26n.yaml", 2), ("yolov8n-seg.yaml", 1)])
def test_box_terms_follow_it(yaml, branches, make_model, make_composite, make_batch):
    """What the box terms say stands in the parts, what they weigh follows the lead of their branch."""
    student = make_model(yaml)
    composite = make_composite(student, make_model(yaml, seed=1, trained=True), distill_logit="auto")
    distiller = composite.distiller
    batch = make_batch(task=student.task)
    composite(batch)
    assert len(distiller.leads) == branches and all(x.seen[2] == pytest.approx(0.05) for x in distiller.leads.values())
    names = [p.split("/")[0] for p in distiller.parts]
    parts = [torch.tensor(1.0)] * len(names)

    def pull(ahead: float) -> float:
        for lead in distiller.leads.values():
            lead.seen.copy_(torch.tensor([0.5, 0.5 + ahead, 1.0]))
        return distiller.add_up(parts)["dlogit_loss"].item()

    shares = sum(distiller.shares.values()) or 1
    boxes = sum(t.gain * shares for t in distiller.terms if t.name in ("ld", "giou"))
    assert boxes >= 4 and {"giou"} <= set(names)
    assert pull(0.03) - pull(-0.1) == pytest.approx(boxes, rel=1e-5)
    assert pull(0.015) - pull(0.0) == pytest.approx(boxes / 2, rel=1e-4)
    assert {k.split("/")[0] for k in distiller.notes()} == {"lead"} and len(distiller.notes()) == branches
    assert any("lead" in k and k.endswith("seen") for k in distiller.state_dict())


def test_a_criterion_without_an_assigner(make_model, make_composite, make_batch):
    """Where no label is assigned to any anchor nothing is measured, and box terms keep their weight."""
    student = make_model("yolov8n.yaml")
    composite = make_composite(student, make_model("yolov8n.yaml", seed=1), distill_logit="giou")
    criterion = student.init_criterion()
    student.criterion = lambda preds, batch: criterion(preds, batch)
    _, items = composite(make_batch())
    (part,) = composite.take_means().values()
    assert composite.distiller.leads["one2many"].seen.eq(0).all()
    assert float(items["dlogit_loss"] if isinstance(items, dict) else items[-1]) == pytest.approx(part)


@pytest.mark.parametrize("terms", ["[ld(lead=0),giou(lead=0)]", "[relative,bckd]"])
def test_no_term_asks(terms, make_model, make_composite, make_batch):
    """Without a term that follows it nothing is measured, and a named weight stays as it is."""
    composite = make_composite(make_model("yolov8n.yaml"), make_model("yolov8n.yaml", seed=1), distill_logit=terms)
    composite(make_batch())
    d = composite.distiller
    assert not d.leads and not d.needs_targets and d.notes() == {}
    parts = [torch.tensor(1.0)] * len(d.parts)
    assert d.add_up(parts)["dlogit_loss"] == 2


def test_several_teachers(make_model, make_distiller):
    """Each has a lead of its own, which no reader of the columns takes for a term."""
    student, other = make_model("yolov8n.yaml"), make_model("yolov8n.yaml", seed=1)
    distillers = [make_distiller(student, other, distill_logit=x) for x in ("[bckd,giou]", "[bckd,ld]", "bckd")]
    notes = SeveralDistillers(distillers, ["a.pt", "b.pt", "c.pt"]).notes()
    columns = {f"distill/{k}": [0.1] for k in (*notes, "t1/bckd", "weight")}
    assert list(notes) == list(leads(columns)) == ["t1/lead", "t2/lead"] and list(term_parts(columns)) == ["t1/bckd"]


def test_own_average_is_not_held_against_the_student(make_model, make_distiller):
    """A student's running average is hardly ever ahead, and is not meant to be."""
    student = make_model("yolov8n.yaml")
    assert not make_distiller(student, student, distill_logit="auto").leads
