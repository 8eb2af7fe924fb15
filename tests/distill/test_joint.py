"""One forward on labelled and unlabelled images: the task loss does not see the others, the terms do."""

import pytest
import torch
from lines import listed, named, needs_84
from torch import nn

from ultralytics.distill.balance import Balance, Ratio
from ultralytics.distill.joint import filled, rows
from ultralytics.distill.losses.base import Loss

FAMILIES = {
    "yolov8n.yaml": "detect",
    "yolov10n.yaml": "detect",
    "yolov8n-seg.yaml": "segment",
    "yolo11n-pose.yaml": "pose",
    "yolo11n-obb.yaml": "obb",
    "yolo11n-cls.yaml": "classify",
    "rtdetr-l.yaml": "detect",
    "yolo26n.yaml": "detect",
    "yolo26n-seg.yaml": "segment",
    "yolo26n-sem.yaml": "semantic",
    "yolo26n-depth.yaml": "depth",
}


class Watches(Loss):
    """A user's feature loss that remembers how many images it was shown, and what its batch said of them."""

    seen: list = []

    def loss(self, student, teacher, batch):
        """Return a difference."""
        self.seen.append((len(student), len(teacher), len(batch["img"]), batch.get("labeled"), torch.is_grad_enabled()))
        return (student - teacher[:, :1]).square().mean()


class Reads(Watches):
    """One that reads labels."""

    needs_labels, seen = True, []


@pytest.fixture
def beside(make_model, make_step, make_batch):
    """`beside(name, n, u)`: a step, a labelled batch and one without labels; BatchNorm is in eval mode."""

    def make(name="yolov8n.yaml", n=3, u=2, **overrides):
        large = "rtdetr" in name  # comes in one width, so another detector teaches it
        student = make_model(name, width=None if large else 0.125)
        teacher = make_model("yolov8n.yaml" if large else name, seed=1, trained=True)
        step = make_step(student, teacher, **{"task": FAMILIES[name], "distill_feat": "mimic", **overrides})
        for m in student.modules():
            m.train(not isinstance(m, nn.BatchNorm2d))
        task = FAMILIES[name]
        return step, make_batch(n, task=task), make_batch(u, task=task, seed=5)

    return make


def gradients(model, loss):
    """Return each weight's gradient, none where it is not reached."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    return torch.autograd.grad(loss.sum(), wanted, allow_unused=True, retain_graph=True)


LARGE = pytest.param("rtdetr-l.yaml", marks=pytest.mark.slow)  # comes in one width


@pytest.mark.parametrize("name", [LARGE if "rtdetr" in name else name for name in FAMILIES])
def test_the_task_loss_is_that_of_the_labelled_images_alone(name, beside):
    """The same value to the bit, the same items, and the same gradient, for each form that a head returns."""
    step, batch, more = beside(name)
    student = step.student
    torch.manual_seed(1)  # RT-DETR draws its denoising queries
    loss, items = student.loss(dict(batch))
    alone = gradients(student, loss)
    step.join(batch, more)
    torch.manual_seed(1)
    task, shown, columns = step.compute(batch)
    assert torch.equal(task, loss) and listed(shown) == listed(items) and all(columns.values())
    largest = max(g.abs().max() for g in alone if g is not None)
    for a, b in zip(alone, gradients(student, task)):
        assert (a is None) == (b is None) and (a is None or (a - b).abs().max() <= 2e-6 * largest)


def test_terms_see_all_images(beside, monkeypatch):
    """A term is shown every image and how many of them have labels; one that reads labels is shown these alone."""
    step, batch, more = beside(distill_feat=[Watches(), Reads()])
    monkeypatch.setattr(Watches, "seen", [])
    monkeypatch.setattr(Reads, "seen", [])
    step.join(batch, more)
    loss, _ = step(batch)
    loss.sum().backward()
    assert [x for x in Watches.seen if x[-1]] == [(5, 5, 5, 3, True)] * 3 and len(batch["img"]) == 3
    assert [x for x in Reads.seen if x[-1]] == [(3, 3, 3, 3, True)] * 3
    assert {x[:4] for x in Watches.seen if not x[-1]} == {(3, 3, 3, 3), (2, 2, 2, 0)}  # each kind apart, for the table
    assert step.joint is None and len(listed(step(batch)[1])) == 4  # the next step is an ordinary one
    assert Watches.seen[-1] == (3, 3, 3, None, True)


def test_one_image_more_counts_as_one_labelled(beside):
    """The terms are means over all images times their number, as they would be if all had labels."""
    step, batch, more = beside(distill_feat="mimic(norm=none)")
    step.join(batch, more)
    joint = step.joint
    task, _, columns = step.compute(batch)
    apart = columns["dfea_loss"]
    both, step.joint = {**batch, "img": joint.images}, None
    assert step.compute(both)[2]["dfea_loss"].item() == pytest.approx(apart.item(), rel=1e-6)
    step.join(batch, more)
    assert step(batch)[0].sum().item() == pytest.approx((task.sum() + 5 * apart).item(), rel=1e-6)


def test_without_labels_the_terms_alone_teach(beside):
    """In a batch of unlabelled images alone the task loss is zero, in value and gradient, and so are its items."""
    step, batch, _ = beside()
    step.join(batch, batch)
    task, items, columns = step.compute(batch)
    assert not task.any() and not any(listed(items)) and columns["dfea_loss"] > 0
    assert not any(g is not None and g.any() for g in gradients(step.student, task))


@pytest.mark.parametrize("logit", ["none", "giou(margin=0)"])
def test_a_balance_goes_by_all_images(logit, beside):
    """The terms of all images are half of the task loss, on steps that also look at each kind apart and on others."""
    step, batch, more = beside(distill_feat="mimic", distill_logit=logit)
    step.balance = Balance(Ratio(share=0.5, clamp=1e6))
    for _ in range(2):  # the first of them looks at each kind
        step.join(batch, more)
        task, _, columns = step.compute(batch)
        assert (5 * sum(columns.values()) / task.sum()).item() == pytest.approx(0.5, rel=1e-4)
        step.joint = None


def test_hard_targets_are_of_labelled_images(beside):
    """`distill_alpha` mixes labels in where there are some; elsewhere the teacher's word is the whole target."""
    for name, loss in (("yolov8n.yaml", "bce"), ("yolo11n-cls.yaml", "kl")):
        values = {}
        for alpha in (0.5, 1.0):
            step, batch, more = beside(name, distill_feat="none", distill_logit=loss, distill_alpha=alpha)
            step.join(batch, more)
            step(batch)
            values[alpha] = step.take_means()
        assert values[0.5][f"distill/labeled/{loss}"] != values[1.0][f"distill/labeled/{loss}"]
        assert values[0.5][f"distill/unlabeled/{loss}"] == pytest.approx(values[1.0][f"distill/unlabeled/{loss}"])


def test_the_margin_is_measured_on_labels(beside):
    """How far the teacher is ahead is what it is without the others, and has no word on them."""
    margins = []
    for join in (False, True):
        step, batch, more = beside(distill_feat="none", distill_logit="giou")
        if join:
            step.join(batch, more)
        step(batch)
        margins.append(step.distiller.margins["boxes/one2many"].seen)
    assert margins[0][2] > 0 and torch.allclose(*margins)


@pytest.mark.parametrize("name", ["fgd", "bckd(norm=npos)"])
def test_terms_on_labels_are_what_they_are_without_the_others(name, beside):
    """Boxes and positive anchors are of the labelled images alone, and so is the term's value."""
    kind = "distill_feat" if name == "fgd" else "distill_logit"
    values = []
    for join in (False, True):
        step, batch, more = beside(**{"distill_feat": "none", kind: name})
        torch.manual_seed(3)
        if join:
            step.join(batch, more)
        values.append(step.compute(batch)[2])
    assert values[0].keys() == values[1].keys()
    for a, b in zip(values[0].values(), values[1].values()):
        assert a.item() == pytest.approx(b.item(), rel=1e-5)


@needs_84("has no compile")
def test_a_compiled_student(make_model, make_step, make_batch):
    """What upstream calls before the loss has all images in its batch; the loss gives the labelled ones back."""
    step = make_step(make_model(), make_model(width=0.1875, seed=1, trained=True), distill_feat="mimic")
    step.student.eval().model[-1].train()  # BatchNorm by its running statistics
    step.model = nn.Sequential(step.student)  # not the student itself: no hook inside it is looked at
    batch, more = make_batch(3), make_batch(2, seed=5)
    images = batch["img"]
    step.join(batch, more)
    step.arm()
    assert len(batch["img"]) == 5
    loss, items = step.student.loss(batch, step.model(batch["img"]))
    assert torch.equal(batch["img"], images) and named(step, items)["dfea_loss"] > 0
    alone = step.student.loss(batch, step.student(images))[0].sum()
    assert loss.sum().item() == pytest.approx((alone + 5 * named(step, items)["dfea_loss"]).item(), rel=1e-5)


def test_an_online_teacher_learns_from_labels_alone(beside, make_model, make_args):
    """Its own loss is that of the labelled images; what it shows the student is of all."""
    from ultralytics.distill.teacher.online import OnlineTeacher

    step, batch, more = beside()
    teacher = OnlineTeacher(make_model(seed=4), [15], False, 1.0)
    teacher.net.args = make_args()
    step.join(batch, more)
    shown, loss = teacher(batch, step.joint)
    assert shown.maps[15].shape[0] == 5
    teacher = OnlineTeacher(make_model(seed=4), [15], False, 1.0)
    teacher.net.args = make_args()
    teacher.train = lambda mode=True: teacher  # BatchNorm by its running statistics
    for m in teacher.net.modules():
        m.train(not isinstance(m, nn.BatchNorm2d))
    own = teacher(batch, step.joint)[1]
    assert torch.equal(own, teacher(batch)[1]) and own != loss
    teacher.gain = 3.0
    assert teacher(batch)[1].item() == pytest.approx(3 * own.item())
    teacher.gain = 1.0
    step.teacher, step.online, step.weight = teacher, True, 0.0
    total, task = step(batch)[0].sum(), step.student.loss(batch)[0].sum()
    assert total.item() == pytest.approx((task + own).item(), rel=1e-5)


def test_rows():
    """Rows of what has one for each image, in any nesting; anything else as it is; and rows for what has no label."""
    x = {"a": torch.arange(5), "b": [torch.ones(2, 5), (torch.zeros(5, 1), "text")], "c": None}
    some = rows(x, slice(3, None), 5)
    assert some["a"].tolist() == [3, 4] and some["b"][0].shape == (2, 5) and some["b"][1][0].shape == (2, 1)
    assert some["b"][1][1] == "text" and some["c"] is None
    assert filled(torch.ones(2, 1), 3).isnan().tolist() == [[False], [False], [True]]
    assert filled(torch.ones(1).bool(), 2).tolist() == [True, False]


def test_rows_of_what_has_no_images_in_front():
    """Of RT-DETR's layers and of a list of detections those images are chosen too, whatever the number of layers."""
    layers, found = torch.arange(6 * 6 * 2 * 4).view(6, 6, 2, 4), torch.rand(6, 2, 4)
    told = {"dn_pos_idx": [*range(6)], "dn_gt_idx": [*range(6)], "dn_num_split": [4, 2]}
    raw = layers, layers, found, found, told
    boxes, scores, first, _, denoising = rows(raw, slice(2, None), 6)
    assert torch.equal(boxes, layers[:, 2:]) and torch.equal(scores, boxes) and torch.equal(first, found[2:])
    assert denoising == {"dn_pos_idx": [2, 3, 4, 5], "dn_gt_idx": [2, 3, 4, 5], "dn_num_split": [4, 2]}
    assert rows((found, (*raw[:4], None)), slice(1), 6)[1][4] is None
    said = [{"boxes": torch.rand(i, 4)} for i in range(3)]
    assert rows(said, slice(1, None), 3) == said[1:]
