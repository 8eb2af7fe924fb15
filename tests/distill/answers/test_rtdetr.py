# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""RT-DETR learns from a YOLO's boxes and a YOLO from RT-DETR's, live and from a file."""

import cv2
import numpy as np
import pytest
import torch
from short_run import options, rows
from small_models import build_model, save_model, shrink

from ultralytics import RTDETR, YOLO
from ultralytics.distill.answers.file import read_answers
from ultralytics.distill.answers.final import final_boxes
from ultralytics.distill.graph import class_heads
from ultralytics.distill.teacher.write_answers import write_answers
from ultralytics.distill.upstream import save_yaml

DETR = "yolov8n-rtdetr.yaml"


def sure(name):
    """Return a small teacher of which some boxes stand."""
    model = build_model(name, width=0.1875, seed=5, trained=True)
    heads = [m for levels in class_heads(model.model[-1]).values() for m in levels]
    for layer in [m[-1] for m in heads] or list(model.model[-1].dec_score_head):
        layer.bias.data.zero_()
        layer.weight.data *= 40
    return model


@pytest.mark.parametrize("pair", [(DETR, "yolov8n.yaml"), ("yolov8n.yaml", DETR)])
def test_the_term_alone_reaches_the_student(pair, make_step, make_batch):
    """Through the student's own matcher or assigner, from boxes that no label meets, live and from a batch."""
    student, teacher = build_model(pair[0], trained=True), sure(pair[1])
    step = make_step(student, teacher, distill_logit="pseudo(conf=0.3)")
    batch, term, told, values = make_batch(n=2, labels=False), step.distiller.terms[0], None, []
    for recorded in (False, True):
        torch.manual_seed(0)
        term.reader.recorded = recorded
        student.zero_grad()
        value = step.compute({**batch, "answers": told} if recorded else dict(batch))[2]["dlogit_loss"]
        value.backward()
        grads = {n: p.grad.norm() for n, p in student.named_parameters() if p.grad is not None}
        assert len([n for n, g in grads.items() if g > 0]) > 50 and grads["model.0.conv.weight"] > 0
        assert all(p.grad is None for p in step.teacher.model.parameters())
        shown = step.teacher(batch["img"])
        found = final_boxes(shown.output, term.reader.strides, term.reader.classes, 3, 0.3)
        assert len(found) > 4
        told = [torch.cat([found.boxes, found.scores], 1)[found.image == i].numpy() for i in range(2)]
        values.append(value.detach())
    torch.testing.assert_close(values[1], values[0], rtol=1e-4, atol=1e-4)


def test_whole_runs_both_ways(data_yaml, student_yaml, tmp_path):
    """RT-DETR learns from a file that a YOLO has written, a YOLO from RT-DETR as it runs along."""
    cfg = {k: v for k, v in shrink(DETR, 0.125).items() if k != "yaml_file"}
    save_yaml(tmp_path / "yolov8-rtdetr.yaml", cfg)
    teachers = {n: save_model(sure(f"{n}.yaml"), tmp_path / f"{n}.pt") for n in ("yolov8n", "yolov8n-rtdetr")}
    quick = {"imgsz": 64, "workers": 0, "batch": 4, "device": "cpu", "conf": 0.3}
    path = write_answers(teachers["yolov8n"], data_yaml, tmp_path / "a.jsonl", **quick)
    runs = (
        (RTDETR(tmp_path / "yolov8-rtdetr.yaml"), path, "pseudo"),
        (YOLO(student_yaml), teachers["yolov8n-rtdetr"], "giou"),
    )
    for model, teacher, term in runs:
        before = [p.clone() for p in model.model.parameters()]
        model.train(model_t=str(teacher), fraction=0.5, **options(data_yaml, tmp_path))
        assert 0 < rows(tmp_path)[0][f"distill/{term}"] < 1000
        assert any(not torch.equal(a, b) for a, b in zip(before, model.trainer.model.parameters()))


@pytest.mark.parametrize("shape", [(48, 90), (90, 48)])
def test_a_file_of_rtdetr_is_upstreams_predictions(shape, tmp_path):
    """Upstream stretches its images to the square: so does the file's writer, also where the image is no square."""
    folder, teacher = tmp_path / "field", save_model(sure(DETR), tmp_path / "t.pt")
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8))
    path = write_answers(teacher, folder, tmp_path / "a.jsonl", conf=0.3, imgsz=64, workers=0, device="cpu")
    table, shown = read_answers(path), RTDETR(teacher).predict(folder / "a.png", imgsz=64, conf=0.3, verbose=False)[0]
    first, last = shown.boxes.xyxyn.clamp(0, 1).chunk(2, 1)  # what stands in a file is in the image
    theirs = torch.cat([(first + last) / 2, last - first], 1).numpy()
    apart = np.abs(table.boxes[:, None] - theirs[None]).max(2)  # a query stands there once for each class, here once
    assert len(theirs) > 4 and apart.min(0).max() < 1e-3
    assert table.score.max() == pytest.approx(shown.boxes.conf.max().item(), abs=1e-3)
