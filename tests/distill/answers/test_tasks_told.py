# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What teachers of masks, keypoints and rotated boxes say, live and in a file, and how students are taught by it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from answer_files import NAMES, write_labels_as_answers
from lines import needs_84
from short_run import options, rows
from small_models import build_model, save_model, shrink

from ultralytics import YOLO
from ultralytics.distill.answers.file import read_answers
from ultralytics.distill.answers.final import final_boxes
from ultralytics.distill.boxes import Boxes, merge, overlaps
from ultralytics.distill.graph import class_heads
from ultralytics.distill.labels import read_labels
from ultralytics.distill.teacher.views import mirrored
from ultralytics.distill.teacher.write_answers import write_answers
from ultralytics.distill.terms.criterion import watch_criterion
from ultralytics.distill.upstream import LINE, save_yaml

FAMILY = "yolo26n" if LINE == "8.4" else "yolo11n"
TASKS = {"segment": "-seg", "pose": "-pose", "obb": "-obb"}
KEPT = {  # what upstream's own predictions serve for an oracle
    "segment": (),
    "pose": needs_84("predicts no keypoints with a model that was not trained"),
    "obb": needs_84("cuts the sides of rotated boxes to those of the image"),
}
QUICK = {"imgsz": 64, "workers": 0, "batch": 4, "device": "cpu"}


def sure(task, family="yolov8n", seed=5, width=0.1875):
    """Return a model of a task that looks trained, with scores from low to high."""
    more = {"kpt_shape": [3, 3]} if task == "pose" else {}
    model = build_model(f"{family}{TASKS.get(task, '')}.yaml", width=width, seed=seed, trained=True, **more)
    for levels in class_heads(model.model[-1]).values():
        for layers in levels:
            layers[-1].bias.data.zero_()
            layers[-1].weight.data *= 40
    model.names = dict(NAMES)
    return model


def filled(polygon):
    """Return the mask (64, 64) of a polygon of shares, which on 8.3 may have no point."""
    corners = [np.round(polygon * 64).astype(np.int32)] if len(polygon) else []
    return cv2.fillPoly(np.zeros((64, 64), np.uint8), corners, 1)


def overlap(a, b):
    """Return the overlap of two masks, 0 to 1."""
    return np.logical_and(a, b).sum() / np.logical_or(a, b).sum()


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """A checkpoint of each task."""
    root = tmp_path_factory.mktemp("teachers")
    return {task: save_model(sure(task), root / f"{task}.pt") for task in (*TASKS, "detect")}


@pytest.fixture(scope="module")
def told(teachers, draw, tmp_path_factory):
    """What the teacher of each task says of its training images."""
    root = tmp_path_factory.mktemp("told")
    return {t: write_answers(teachers[t], draw(t), root / f"{t}.jsonl", conf=0.5, **QUICK) for t in TASKS}


@pytest.mark.parametrize("task", [pytest.param(t, marks=m) for t, m in KEPT.items()])
def test_a_file_holds_upstreams_predictions(task, told, teachers, draw):
    """Polygons cover the masks of `predict`, and keypoints and corners are its own."""
    table, model = read_answers(told[task]), YOLO(teachers[task])
    assert table.told["task"] == task and table.extra
    best = np.maximum.reduceat(table.score, table.start[:-1])
    seen = 0
    for i, name in enumerate(table.images[:4]):
        shown = model.predict(Path(draw(task)).parent / name, imgsz=64, conf=0.5, iou=0.7, verbose=False)[0]
        which = table.boxes_of(i)
        found = shown.obb if task == "obb" else shown.boxes
        order = np.abs(best[which][:, None] - found.conf.numpy()[None]).argmin(1)
        assert len(found) >= len(order) > 0  # a mask of one or two cells is no polygon
        seen += len(order)
        if task == "pose":
            np.testing.assert_allclose(
                table.keypoints[which][..., :2].clip(0, 1), shown.keypoints.xyn[order], atol=2e-3
            )
            np.testing.assert_allclose(table.keypoints[which][..., 2], shown.keypoints.conf[order], atol=2e-3)
            continue
        for row, (j, mine) in enumerate(zip(order, table.outlines_of(which))):
            if task == "obb":
                np.testing.assert_allclose(mine, shown.obb.xyxyxyxyn[j], atol=2e-3)
                continue
            same = np.abs(shown.boxes.xywhn.numpy() - table.boxes[which][row]).max(1).argmin()
            mask, theirs = shown.masks.data[same].numpy(), filled(shown.masks.xyn[same])
            assert not mask.any() or overlap(filled(mine), mask) >= overlap(theirs, mask) - 0.05  # 8.3 keeps empty ones
    assert seen > 4


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", ["yolov8n", FAMILY])
def test_a_live_teacher_is_learnt_from_as_labels_are(task, family, make_step, make_batch):
    """The student's own criterion teaches masks, keypoints and angles; a batch that has the answers gives the same."""
    student, teacher = sure(task, family, seed=1, width=0.125), sure(task)
    step = make_step(student, teacher, distill_logit="pseudo(conf=0.5)")
    batch = make_batch(n=3, nc=3, task=task)
    if task == "pose":
        batch["keypoints"] = batch["keypoints"][:, :3]
    live = step.compute(dict(batch))[2]["dlogit_loss"]
    term, shown = step.distiller.terms[0], step.teacher(batch["img"])
    found = final_boxes(shown.output, term.reader.strides, term.reader.classes, 3, 0.5, term.reader.extra)
    assert len(found) > 3 and set(found.more) == ({"segment": {"masks"}, "pose": {"keypoints"}}.get(task, set()))
    each = [found[found.image == i] for i in range(3)]
    given = {"answers": [torch.cat([x.boxes, x.scores], 1).numpy() for x in each]}
    if found.more:
        (name,) = found.more
        values = [x.more[name] > 0 if name == "masks" else x.more[name] for x in each]
        given[f"answers_{name}"] = values
    term.reader.recorded = True
    again = step.compute({**batch, **given})[2]["dlogit_loss"]
    torch.testing.assert_close(again, live, rtol=1e-4, atol=1e-4)
    again.backward()
    learnt = {"segment": ("cv4", "proto"), "pose": ("cv4",), "obb": ("cv4",)}[task]
    for part in learnt:
        grads = [p.grad for n, p in student.model[-1].named_parameters() if part in n and p.grad is not None]
        assert grads and any(bool(g.any()) for g in grads)
    assert all(p.grad is None for p in step.teacher.model.parameters())


@pytest.mark.parametrize("task", ["segment", "pose"])
def test_an_unsure_object_pulls_less_at_its_mask_or_keypoints(task, make_step, make_batch):
    """An object of half the score pulls half as much at the predictions of what it has beside its box."""
    student = sure(task, width=0.125).train()
    batch = make_batch(n=2, nc=3, task=task)
    name, key = {"segment": ("masks", "mask_coefficient"), "pose": ("keypoints", "kpts")}[task]
    if task == "pose":
        batch["keypoints"] = batch["keypoints"][:, :3]
    with watch_criterion(student) as criterion:
        student.loss(batch)
    if not isinstance(criterion.preds, dict):
        pytest.skip("8.3 has its predictions in a tuple")
    pulls = []
    for score in (1.0, 0.5):
        objects = read_labels(batch, 3, (name,))
        objects.scores[1] *= score
        grad = torch.autograd.grad(criterion.ask(objects, 2), criterion.preds[key], retain_graph=True)[0]
        pulls.append([float(g.norm()) for g in grad])
    (a, b), (c, d) = pulls
    assert b > 0 and d / c == pytest.approx(b / a / 2, rel=0.02)


def test_a_teacher_of_boxes_teaches_boxes_alone(make_distiller, log):
    """A detector or another number of keypoints: one line says what the labels teach; rotated boxes do not mix."""
    for student, teacher, says in (
        (
            "segment",
            "detect",
            "pseudo teaches boxes and classes; masks are learnt from the labels, since the teacher has none.",
        ),
        ("pose", "segment", "keypoints are learnt from the labels, since the teacher has none."),
    ):
        log.clear()
        distiller = make_distiller(sure(student), sure(teacher), distill_logit="pseudo")
        assert distiller.terms[0].reader.extra.name == "" and any(says in x for x in log())
    other = build_model("yolov8n-pose.yaml", kpt_shape=[5, 3])
    other.names = dict(NAMES)
    make_distiller(sure("pose"), other, distill_logit="pseudo")
    assert any("since the teacher has 5 and the student 3" in x for x in log())
    for pair in (("obb", "detect"), ("detect", "obb")):
        with pytest.raises(
            ValueError, match="the student's boxes are (rotated|upright) and the teacher's (upright|rotated)"
        ):
            make_distiller(sure(pair[0]), sure(pair[1]), distill_logit="pseudo")


def test_a_whole_run_learns_from_a_file(draw, tmp_path, log):
    """Labels for answers, pasted objects, unlabelled images beside: masks are taught, and no teacher runs."""
    data = draw("segment")
    path = write_labels_as_answers(data, "segment", tmp_path / "a.jsonl")
    cfg = {k: v for k, v in shrink(f"{FAMILY}-seg.yaml", 0.125).items() if k != "yaml_file"}
    save_yaml(tmp_path / f"{FAMILY}-seg.yaml".replace("n-", "-"), cfg)
    more = {"copy_paste": 0.5, "mixup": 0.3, "unlabeled": str(Path(data).parent / "images/train")}
    model = YOLO(tmp_path / f"{FAMILY}-seg.yaml".replace("n-", "-"))
    model.train(model_t=str(path), **options(data, tmp_path, **more))
    row = rows(tmp_path)[0]
    assert all(0 < row[f"distill/{kind}pseudo"] < 100 for kind in ("", "labeled/", "unlabeled/"))
    assert not any("are learnt from the labels" in x for x in log())


def test_sizes_flips_and_teachers_are_merged(teachers, draw, tmp_path):
    """Boxes are merged; a mask, keypoints and corners are those of the surest box, wherever it was seen."""
    args = {**QUICK, "imgsz": [64, 96], "flip": True, "conf": 0.3}
    for task in TASKS:
        table = read_answers(write_answers(teachers[task], draw(task), tmp_path / f"{task}.jsonl", **args))
        assert table.told["task"] == task and len(table.boxes) > 4
    yaml = Path(draw("pose")).with_name("unknown.yaml")
    yaml.write_text(Path(draw("pose")).read_text().replace("flip_idx", "other"))
    with pytest.raises(
        ValueError, match="'flip=True' mirrors keypoints, and 'data' does not tell by a 'flip_idx' of 3"
    ):
        write_answers(teachers["pose"], yaml, tmp_path / "p.jsonl", **args)


def test_teachers_of_several_kinds(teachers, draw, tmp_path, log):
    """Beside a detector a segmenter's masks are left out, and that is said; rotated and upright boxes are refused."""
    both = [str(teachers[k]) for k in ("segment", "detect")]
    table = read_answers(write_answers(both, draw("segment"), tmp_path / "a.jsonl", conf=0.5, **QUICK))
    assert table.extra == "" and any(
        "do not all have the same masks; the file gets boxes and classes" in x for x in log()
    )
    with pytest.raises(ValueError, match="a teacher of rotated boxes, obb.pt, and one of upright ones, detect.pt"):
        write_answers([str(teachers[k]) for k in ("obb", "detect")], draw("obb"), tmp_path / "b.jsonl", **QUICK)


def test_what_does_not_mix_is_one_sides():
    """Masks, keypoints and rotated boxes of a pair are the answer's from a share of a half on, else the label's."""
    pair = []
    for score, angle in ((1.0, 0.1), (0.5, 0.2)):
        box = torch.tensor([[0.5, 0.5, 0.4, 0.2, angle]])
        more = {"masks": torch.full((1, 4, 4), angle)}
        pair.append(Boxes(torch.zeros(1).long(), box, torch.zeros(1).long(), torch.tensor([[score]]), more))
    for alpha, angle in ((0.7, 0.2), (0.3, 0.1)):
        found = merge(*pair, images=1, alpha=alpha, size=(64, 64))
        assert len(found) == 1 and float(found.boxes[0, 4]) == pytest.approx(angle)
        assert float(found.more["masks"][0, 0, 0]) == pytest.approx(angle)
        assert float(found.scores) == pytest.approx(1 - 0.5 * alpha)
    turned = torch.tensor([[[0.5, 0.5, 0.4, 0.1, 1.5]]])
    assert float(overlaps(pair[0].boxes[None], turned, (64, 64))) < 0.5


def test_a_mirror_image_is_turned_back():
    """Angles change their sign, masks and keypoints their side, and left keypoints become right ones."""
    points = torch.tensor([[[0.1, 0.2, 1.0], [0.6, 0.3, 0.5]]])
    box, masks = torch.tensor([[0.3, 0.5, 0.4, 0.2, 0.7]]), torch.arange(4.0).view(1, 1, 4)
    none = torch.zeros(1).long()
    found = mirrored(Boxes(none, box, none, torch.ones(1, 1), {"masks": masks, "keypoints": points}), [1, 0])
    torch.testing.assert_close(found.boxes, torch.tensor([[0.7, 0.5, 0.4, 0.2, -0.7]]))
    assert found.more["masks"].flatten().tolist() == [3, 2, 1, 0]
    torch.testing.assert_close(found.more["keypoints"], torch.tensor([[[0.4, 0.3, 0.5], [0.9, 0.2, 1.0]]]))
