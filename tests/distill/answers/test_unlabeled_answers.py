# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Answers for images without labels: no teacher runs, with labels beside them or with none at all."""

from pathlib import Path

import pytest
import torch
from short_run import columns, options, rows
from small_models import build_model, save_model

from ultralytics import YOLO
from ultralytics.distill.answers.final import final_boxes
from ultralytics.distill.graph import class_heads
from ultralytics.distill.heads.common import head_strides
from ultralytics.distill.teacher.write_answers import write_answers


def sure(**more):
    """Return a detector with scores from low to high."""
    model = build_model(width=0.25, trained=True, **more)
    for layers in (m for levels in class_heads(model.model[-1]).values() for m in levels):
        layers[-1].bias.data.zero_()
        layers[-1].weight.data *= 40
    return model


@pytest.fixture(scope="module")
def told(data_yaml, tmp_path_factory):
    """A file of answers for the labelled and the unlabelled images, and the folder of the latter."""
    folder = tmp_path_factory.mktemp("told")
    teacher = save_model(sure(seed=5), folder / "best.pt")
    quick = {"imgsz": 64, "workers": 0, "batch": 4, "device": "cpu", "conf": 0.3}
    path, beside = folder / "a.jsonl", Path(data_yaml).parent / "images/val"
    parts = [write_answers(teacher, data_yaml, folder / f"{s}.jsonl", split=s, **quick) for s in ("train", "val")]
    lines = [p.read_text().splitlines(True) for p in parts]
    path.write_text("".join([*lines[0][:-1], *lines[1][1:-1]]) + '{"images": 12}\n')
    return path, beside


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo26n.yaml", "rtdetr-l.yaml"])
def test_a_step_sees_the_answers_of_both_kinds(make_model, make_step, make_batch, name):
    """With unlabelled images beside the labelled ones the term is that of all of them, whoever said the answers."""
    student, teacher, batch, more = (
        make_model(name, trained=True),
        sure(seed=1),
        make_batch(n=2),
        make_batch(n=3, seed=5),
    )
    step = make_step(student, teacher, distill_logit="pseudo(conf=0.5)")
    term = step.distiller.terms[0]

    def value(labelled, unlabelled):
        torch.manual_seed(0)
        step.join(labelled, unlabelled)
        step(dict(labelled))
        return step.take_means()["distill/pseudo"]

    live = value(batch, more)
    told = []
    for images in (batch["img"], more["img"]):
        found = final_boxes(step.teacher(images).output, head_strides(teacher), term.reader.classes, 3, 0.5)
        found = torch.cat([found.boxes, found.scores], 1), found.image
        told.append([found[0][found[1] == i].numpy() for i in range(len(images))])
    assert all(len(x) for kind in told for x in kind)
    term.reader.recorded = True
    again = value({**batch, "answers": told[0]}, {**more, "answers": told[1]})
    assert again == pytest.approx(live, rel=1e-3) and live > 0


def test_no_teacher_runs_beside_labels(told, student_yaml, data_yaml, tmp_path, log):
    """A whole run on labelled and unlabelled images from one file of answers."""
    path, beside = told
    args = options(data_yaml, tmp_path, unlabeled=str(beside), mosaic=1.0)
    YOLO(student_yaml).train(model_t=str(path), **args)
    assert any("has answers for 4 of 4 unlabelled images" in x for x in log())
    assert "distill/relative" in columns(tmp_path) and rows(tmp_path)[0]["distill/relative"] > 0
    assert rows(tmp_path)[0]["distill/unlabeled/relative"] > 0


def test_images_of_which_nothing_is_known_are_refused(told, student_yaml, data_yaml, tmp_path, write_answers):
    """An image without labels and answers would be taught as empty."""
    path = write_answers(tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="knows none of the 4 unlabelled images"):
        args = options(data_yaml, tmp_path, unlabeled=str(told[1]))
        YOLO(student_yaml).train(model_t=str(path), **args)


def test_a_folder_and_a_file_of_answers_are_enough(told, student_yaml, data_yaml, tmp_path):
    """Without any label: classes in a YAML, images in a folder, answers in a file; no teacher, and no task loss."""
    path, beside = told
    yaml = tmp_path / "names.yaml"
    yaml.write_text("names: {0: circle, 1: square, 2: stripe}\n")
    YOLO(student_yaml).train(model_t=str(path), **options(yaml, tmp_path, unlabeled=str(beside)))
    (row,) = rows(tmp_path)
    assert row["distill/relative"] > 0 and row["train/box_loss"] == 0
