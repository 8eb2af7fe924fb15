# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The student's own criterion, asked a second time: upstream's own loss of the labels is the oracle."""

from copy import deepcopy

import pytest
import torch
from lines import listed

from ultralytics.distill.graph import capture
from ultralytics.distill.labels import read_labels
from ultralytics.distill.terms.criterion import branch_criteria, watch_criterion
from ultralytics.distill.training.step import batch_factor

DETECTORS = ["yolov3-tiny.yaml", "yolov5n.yaml", "yolov8n.yaml", "yolov10n.yaml", "yolo11n.yaml", "yolo26n.yaml"]


@pytest.fixture(scope="module")
def crowd(make_batch):
    """A batch of three images, of which the second has no label."""
    batch = make_batch(n=4, nc=3)
    return {**batch, "img": batch["img"][:3], "batch_idx": torch.tensor([0.0, 0.0, 2.0, 2.0])}


def ask(model, batch, change=None):
    """Return the task loss, what the criterion says of the same objects, or of changed ones, and the predictions."""
    with watch_criterion(model) as criterion:
        task, _ = model.loss(batch)
    objects = read_labels(batch, 3)
    if change:
        change(objects)
    return task.sum(), criterion.ask(objects, len(batch["img"])) * batch_factor(model, batch), criterion


@pytest.mark.parametrize("name", DETECTORS)
def test_hard_labels_give_the_task_loss(make_model, crowd, name):
    """With the labels for answers the term is the task loss, in value and gradient, in every family and branch."""
    model = make_model(name, trained=True).train()
    task, again, _ = ask(model, crowd)
    weights = [p for p in model.parameters() if p.requires_grad]
    torch.testing.assert_close(again, task)
    first, second = (torch.autograd.grad(x, weights, retain_graph=True, allow_unused=True) for x in (task, again))
    for a, b in zip(first, second):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_hard_labels_give_rtdetr_its_task_loss(make_model, crowd):
    """RT-DETR's matcher and losses are its own too; the term has no denoising, so it is compared without."""
    model = make_model("rtdetr-l.yaml", trained=True).train()
    model.model[-1].num_denoising = 0
    task, again, _ = ask(model, crowd)
    torch.testing.assert_close(again, task)
    assert all(x.grad is None for x in model.parameters())
    again.backward()
    assert sum(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters()) > 100


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo26n.yaml", "rtdetr-l.yaml"])
def test_the_heads_own_output_says_the_same(make_model, crowd, name):
    """What was seen of the head, in one form for all releases, is what the criterion was given."""
    model = make_model(name, trained=True).train()
    with capture(model) as seen, watch_criterion(model) as criterion:
        model.loss(crowd)
    first = criterion.ask(read_labels(crowd, 3), 3)
    criterion.see(seen.output)
    torch.testing.assert_close(criterion.ask(read_labels(crowd, 3), 3), first)


@pytest.mark.parametrize("name", ["yolov8n-seg.yaml", "yolo26n-seg.yaml", "yolov8n-pose.yaml", "yolo26n-pose.yaml"])
def test_masks_and_keypoints_are_left_to_the_labels(make_model, make_batch, name):
    """A student of masks or keypoints learns boxes and classes, as a detector with these weights would; no more."""
    task = "segment" if "seg" in name else "pose"
    model = make_model(name, nc=1 if task == "pose" else 3, trained=True).train()
    count = len(model.names)
    batch = make_batch(n=3, nc=count, task=task)
    with watch_criterion(model) as criterion:
        model.loss(batch)
    again = criterion.ask(read_labels(batch, count), 3)
    assigners_before = {k: type(c.assigner) for k, c in branch_criteria(criterion.inner).items()}
    again.backward()
    head = model.model[-1]
    silent = [p for n, p in head.named_parameters() if "cv4" in n or "proto" in n or "flow" in n]
    assert silent and all(p.grad is None or not p.grad.any() for p in silent)
    assert any(p.grad is not None and p.grad.any() for n, p in head.named_parameters() if "cv2" in n)
    assert {k: type(c.assigner) for k, c in branch_criteria(criterion.inner).items()} == assigners_before
    if "v8" in name:  # YOLO26's labels are assigned by masks and keypoints too
        items = model.loss(batch)[1]
        if isinstance(items, dict):
            known = sum(items[k] for k in ("box_loss", "cls_loss", "dfl_loss"))
        else:  # 8.3 lists them
            known = items[0] + items[2 if task == "segment" else 3 :].sum()
        torch.testing.assert_close(again.detach(), known, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["yolov8n.yaml", "rtdetr-l.yaml"])
def test_an_unsure_object_pulls_less_at_its_box(make_model, crowd, name):
    """An object of half the score pulls half as much at the boxes beside one that is sure."""
    model = make_model(name, trained=True).train()
    pulls = []
    for score in (1.0, 0.5, 0.0):
        model.zero_grad()
        one = {**crowd, "cls": crowd["cls"][:2], "bboxes": crowd["bboxes"][:2], "batch_idx": torch.tensor([0.0, 2.0])}

        def lower(objects, score=score):
            objects.scores[1] *= score

        _, again, criterion = ask(model, one, lower)
        preds = criterion.preds
        if isinstance(preds, list):
            pytest.skip("8.3 has boxes and scores in one map")
        boxes = preds["boxes"] if isinstance(preds, dict) else preds[0]
        grad = torch.autograd.grad(again, boxes)[0]
        grad = grad if name[:2] != "rt" else grad.transpose(0, 1)
        pulls.append([float(g.norm()) for g in (grad[0], grad[2])])
    shares = [b / a for a, b in pulls]
    assert shares[0] > 0 and shares[2] == 0
    assert shares[1] == pytest.approx(shares[0] / 2, rel=0.02)


def test_soft_scores_are_learnt_by_every_class(make_model, crowd):
    """A score of a second class is a target where the object is assigned: the pull at that class turns round."""
    model = make_model(trained=True).train()

    def share(objects):
        objects.scores[:, :] = torch.tensor([0.0, 0.1, 0.8])

    pulls = []
    for change in (None, share):
        _, again, criterion = ask(model, crowd, change)
        if not isinstance(criterion.preds, dict):
            pytest.skip("8.3 has boxes and scores in one map")
        pulls.append(torch.autograd.grad(again, criterion.preds["scores"])[0])
    crowd_classes = crowd["cls"].view(-1).long().tolist()
    assert 2 in crowd_classes or pulls[0][:, 2].min() >= 0
    assert pulls[1][:, 2].min() < 0 and pulls[1][1].min() >= 0  # nothing is named in the second image


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo26n.yaml", "rtdetr-l.yaml"])
def test_asking_leaves_no_trace(make_model, crowd, name):
    """The criterion is the student's own again and says the same of the next batch, whatever it was asked."""
    model = make_model(name, trained=True).train()
    model.criterion = model.init_criterion()
    before = set(vars(model)), type(model.criterion), set(vars(model.criterion))
    torch.manual_seed(1)
    first = listed(deepcopy(model).loss(crowd)[1])
    ask(deepcopy(model), crowd)
    ask(model, crowd)
    assert (set(vars(model)), type(model.criterion), set(vars(model.criterion))) == before
    again = make_model(name, trained=True).train()
    again.load_state_dict(model.state_dict())
    hooks = [h for m in model.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]
    assert not hooks and len(first) == len(listed(model.loss(crowd)[1]))


def test_half_predictions_are_widened(make_model, crowd):
    """Predictions of 16 bits, as automatic mixed precision has them, give a finite loss near that of 32."""
    model = make_model(trained=True).train()
    _, full, criterion = ask(model, crowd)
    preds = criterion.preds
    if not isinstance(preds, dict):
        pytest.skip("8.3 has boxes and scores in one map")
    criterion.preds = {k: v.half() if isinstance(v, torch.Tensor) else [x.half() for x in v] for k, v in preds.items()}
    torch.testing.assert_close(criterion.ask(read_labels(crowd, 3), 3) * 3, full, rtol=2e-2, atol=1e-2)
