# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Answers for images without labels: no teacher runs, with labels beside them or with none at all."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from short_run import columns, options, rows
from small_models import NAMES, build_model, save_model

from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.distill.answers.extra import Extra
from ultralytics.distill.answers.final import final_boxes
from ultralytics.distill.answers.join import join
from ultralytics.distill.answers.recorded import Recorded
from ultralytics.distill.graph import class_heads
from ultralytics.distill.heads.classes import Classes
from ultralytics.distill.heads.common import head_strides
from ultralytics.distill.teacher.source import resolve
from ultralytics.distill.teacher.write_answers import write_answers
from ultralytics.distill.unlabeled.dataset import without_labels


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
    beside = Path(data_yaml).parent / "images/val"
    return write_answers(teacher, [data_yaml, beside], folder / "a.jsonl", **quick), beside


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


@pytest.mark.parametrize("name", ["rtdetr-l.yaml", "function"])
def test_final_boxes_teach_both_kinds_live(make_model, make_step, make_batch, tmp_path, name):
    """A teacher whose output has no images in front, or is a list of them, is told apart by kind as any other is."""

    def say(x):
        box = torch.tensor([[0.2, 0.2, 0.6, 0.8]]) * x.shape[2]
        return [{"boxes": box, "scores": torch.tensor([0.9]), "labels": torch.tensor([1])} for _ in x]

    say.names = list(NAMES.values())
    teacher = resolve(say, tmp_path / "t.pt", 64).module if name == "function" else make_model(name, trained=True)
    step = make_step(make_model(), teacher, distill_logit="pseudo(conf=0.01)")
    step.join(make_batch(n=2), make_batch(n=3, seed=5))
    step(make_batch(n=2))
    found = step.take_means()
    assert all(found[f"distill/{k}pseudo"] > 0 for k in ("", "labeled/", "unlabeled/"))


def test_unlabelled_images_have_the_teachers_whole_word(make_model, make_step, make_batch):
    """A share of the answer is one against labels: where nobody has labelled it weighs as much as without them."""
    student, teacher, batch, more = make_model(), sure(seed=1), make_batch(n=2), make_batch(n=3, seed=5)

    def value(alpha, part):
        step = make_step(student, teacher, distill_logit=f"pseudo(alpha={alpha})")
        step.join(dict(batch), more)
        step(dict(batch))
        return step.take_means()[f"distill/{part}/pseudo"]

    for part, same in (("unlabeled", True), ("labeled", False)):
        assert (value(0.3, part) == pytest.approx(value(1.0, part), rel=1e-4)) == same


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


def test_other_images_of_the_same_names(told, student_yaml, data_yaml, make_dataset, tmp_path, monkeypatch):
    """An answer is of one image: others of its name or of another size are refused, a copy is not."""
    table, every = told[0], Classes([0, 1, 2], [0, 1, 2])
    readers = [SimpleNamespace(classes=every, count=3, conf=0.1, extra=Extra())]
    folder = tmp_path / "field/images/train"
    shutil.copytree(Path(data_yaml).parent / "images/train", folder)
    recorded, dataset = Recorded(table), make_dataset()
    join(dataset, recorded, readers)
    files = sorted(map(str, folder.glob("*.png")))
    join(without_labels(dataset, files, get_cfg()), recorded, readers, "unlabelled")
    image = cv2.imread(files[0])
    cv2.imwrite(files[0], 255 - image)
    with pytest.raises(ValueError, match="names 'images/train/0.png', which may be '.*' or '.*field.*'; write answers"):
        join(without_labels(dataset, files, get_cfg()), recorded, readers, "unlabelled")
    cv2.imwrite(files[0], image[:32])
    with pytest.raises(ValueError, match="is of other images: '.*0.png' has 32x64 pixels, in the file 64x64"):
        join(without_labels(dataset, files, get_cfg()), Recorded(table), readers, "unlabelled")
    monkeypatch.chdir(tmp_path)  # a file's whole path is known, however the folder is given
    cv2.imwrite(files[0], image)
    recorded = Recorded(table)
    recorded.table.images[0] = str(folder / "0.png").lstrip("/")
    ride = join(without_labels(dataset, ["field/images/train/0.png"], get_cfg()), recorded, readers, "unlabelled")
    assert ride.found.tolist() == [0]


def test_a_folder_and_a_file_of_answers_are_enough(told, student_yaml, data_yaml, tmp_path):
    """Without any label: classes in a YAML, images in a folder, answers in a file; no teacher, and no task loss."""
    path, beside = told
    yaml = tmp_path / "names.yaml"
    yaml.write_text("names: {0: circle, 1: square, 2: stripe}\n")
    args = options(yaml, tmp_path, unlabeled=str(beside))
    YOLO(student_yaml).train(model_t=str(path), **args)
    (row,) = rows(tmp_path)
    assert row["distill/relative"] > 0 and row["train/box_loss"] == 0
