# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Whole runs with a file of answers for a teacher, and what is refused before the first batch."""

import re
from types import SimpleNamespace

import pytest
import torch
from short_run import columns, equal, options, rows, weights

from ultralytics import YOLO
from ultralytics.distill.answers.extra import Extra
from ultralytics.distill.answers.final import final_boxes
from ultralytics.distill.answers.join import join
from ultralytics.distill.answers.recorded import Recorded, require_final_terms
from ultralytics.distill.heads.classes import Classes
from ultralytics.distill.heads.common import head_strides
from ultralytics.distill.teacher.several import read_each
from ultralytics.distill.teacher.source import resolve
from ultralytics.distill.upstream import LINE


@pytest.fixture(scope="module")
def answered(student_yaml, data_yaml, write_answers, tmp_path_factory):
    """A run of two epochs with the labels for answers, every augmentation on and plots drawn, and its folder."""
    folder = tmp_path_factory.mktemp("answered")
    path = write_answers(folder / "answers.jsonl")
    model = YOLO(student_yaml)
    more = {"epochs": 2, "close_mosaic": 1, "plots": True, "val": True}
    more.update({"cls_pw": 0.5} if LINE == "8.4" else {})
    model.train(model_t=str(path), **options(data_yaml, folder, **more))
    return model, folder


def test_the_recipe_teaches_and_is_logged(answered):
    """`auto` is the recipe for predictions, as with a model; the values and the column stand in results.csv."""
    _, folder = answered
    found, names = rows(folder), ("relative", "ld", "giou")
    assert "train/dlogit_loss" in columns(folder) and not any("cwd" in c or "pseudo" in c for c in columns(folder))
    assert all(r[f"distill/{n}"] > 0 for r in found for n in names) and len(found) == 2
    assert all("distill/margin/boxes" in r and "distill/margin/classes" in r for r in found)


def test_plots_and_checkpoints_know_nothing_of_answers(answered):
    """Labels and batches are drawn, class weights counted, and the checkpoint is a plain student's."""
    model, folder = answered
    assert all((folder / "run" / name).is_file() for name in ("labels.jpg", "train_batch0.jpg", "distill.png"))
    assert LINE == "8.3" or len(model.trainer.model.class_weights) == 3
    assert YOLO(folder / "run/weights/last.pt").names == {0: "circle", 1: "square", 2: "stripe"}
    assert not hasattr(model.trainer.test_loader.dataset, "answers")


def test_a_live_teacher_says_what_its_file_says(make_model, make_step, make_batch, tmp_path):
    """The term of a live teacher is that of its answers from the batch, in value and gradient."""
    student, teacher, batch = make_model(), make_model(width=0.25, seed=1, trained=True), make_batch(n=3)
    for layers in teacher.model[-1].cv3:
        layers[-1].bias.data.zero_()
    step = make_step(student, teacher, distill_logit="pseudo(conf=0.5)")
    loss, _ = step(dict(batch))
    term = step.distiller.terms[0]
    shown = step.teacher(batch["img"])
    found = final_boxes(shown.output, head_strides(teacher), Classes([0, 1, 2], [0, 1, 2]), 3, 0.5)
    assert len(found) > 10
    per_image = [torch.cat([found.boxes, found.scores], 1)[found.image == i].numpy() for i in range(3)]
    term.reader.recorded = True
    again, _ = step({**batch, "answers": per_image})
    torch.testing.assert_close(again, loss, rtol=1e-4, atol=1e-5)


def test_a_plain_run_is_the_same_to_the_bit(answered, student_yaml, data_yaml, write_answers, tmp_path):
    """With the gain at almost nothing the student sees the same images in the same order as without answers."""
    seen = []
    for name, more in (("with", {"model_t": str(write_answers(tmp_path / "a.jsonl")), "dlogit": 1e-30}), ("plain", {})):
        (tmp_path / name).mkdir()
        YOLO(student_yaml).train(**options(data_yaml, tmp_path / name, mosaic=1.0, **more))
        seen.append(weights(tmp_path / name))
    assert equal(*seen)


def refused(student_yaml, data_yaml, folder, **more):
    """Return what a run is refused with, and require that it left nothing behind."""
    with pytest.raises(ValueError) as error:
        YOLO(student_yaml).train(**options(data_yaml, folder, **more))
    said = str(error.value)
    assert "\n" not in said and said.endswith(".") and not (folder / "run").exists()
    return said


def test_answers_of_other_data_are_refused(student_yaml, data_yaml, write_answers, tmp_path):
    """Other images, images of another size, and other classes: one sentence, and no results folder."""
    path, folder = write_answers(tmp_path / "a.jsonl", size=48), tmp_path / "runs"
    said = refused(student_yaml, data_yaml, folder, model_t=str(path))
    assert "is of other images" in said and "64x64 pixels, in the file 48x48" in said
    write_answers(path, names={0: "cat", 1: "dog", 2: "bird"})
    for logit in ("auto", "pseudo"):
        said = refused(student_yaml, data_yaml, folder, model_t=str(path), distill_logit=logit)
        assert "no class name is shared" in said and said.endswith("give the answers for this data.")
    text = write_answers(path).read_text().replace("images/train/", "images/train/other-")
    path.write_text(text)
    said = refused(student_yaml, data_yaml, folder, model_t=str(path))
    assert "knows none of the 8 training images" in said and "other-0.png" in said


def test_what_needs_a_model_is_refused_beside_a_file(student_yaml, data_yaml, write_answers, tmp_path):
    """A feature term, an image size of its own, a teacher that learns, and two files: one sentence each."""
    path, folder = write_answers(tmp_path / "a.jsonl"), tmp_path / "runs"
    for more, says in (
        ({"distill_feat": "cwd"}, "'distill_feat=cwd' compares what a model shows on the way"),
        ({"distill_logit": "crosskd"}, "'distill_logit=crosskd': it compares through layers of the teacher's head"),
        ({"distill_imgsz": 64}, "'distill_imgsz=64' needs a model"),
        ({"distill_online": True}, "'distill_online=True' needs a model"),
        ({"distill_layers": [15]}, "'distill_layers=.*' needs a model"),
        ({"distill_precision": "fp32"}, "'distill_precision=fp32' needs a model"),
        ({"distill_logit": "none"}, "'distill_logit=none' leaves 'model_t=.*' nothing to teach by"),
        ({"model_t": [str(path), str(path)]}, "several files of answers"),
    ):
        assert re.search(says, refused(student_yaml, data_yaml, folder, **{"model_t": str(path), **more}))


def test_what_needs_a_model_is_for_the_other_teacher(make_args, write_answers, teacher_pt, tmp_path):
    """Beside a model a file leaves out named terms that it cannot serve, and an image size, which are the model's."""
    path = write_answers(tmp_path / "a.jsonl")
    sources = [resolve(str(x), tmp_path / "t.pt") for x in (path, teacher_pt)]
    configs = read_each(make_args(distill_feat="cwd", distill_imgsz=96, distill_mean=0.5), 2)
    require_final_terms(configs, sources)
    of_file, of_model = ([t.spelled.name for t in c.terms] for c in configs)
    assert "cwd" not in of_file and of_file == [x for x in of_model if x != "cwd"] and "cwd" in of_model
    assert (configs[0].imgsz, configs[0].mean, configs[1].imgsz) == (None, None, 96)
    with pytest.raises(ValueError, match="'distill_logit=none' leaves 'model_t=.*a.jsonl' nothing to teach by"):
        require_final_terms(read_each(make_args(distill_logit="none"), 2), sources)


def test_some_images_may_have_no_answers(make_dataset, write_answers, write_coco, log, tmp_path):
    """Images on either side that the other lacks are counted in one line; boxes of COCO's results become shares."""
    every = Classes([0, 1, 2], [0, 1, 2])
    readers = [SimpleNamespace(classes=every, count=3, conf=0.1, extra=Extra())]
    join(make_dataset(fraction=0.875), Recorded(write_answers(tmp_path / "a.jsonl", keep=slice(0, 6))), readers)
    assert any("answers for 6 of 7 training images, 1 are taught by their labels alone" in x for x in log())
    coco = Recorded(write_coco(tmp_path / "b.json", 0))
    ride = join(make_dataset(fraction=0.5), coco, readers)
    assert any("answers for 4 of 4 training images; 4 images of the file are not among them" in x for x in log())
    label = ride.dataset.labels[0]["bboxes"]
    shares = ride.table.boxes[ride.table.boxes_of(ride.found[0])]
    assert abs(shares - label).max() < 1e-4
    coco.table.boxes *= 2
    with pytest.raises(ValueError, match="^'model_t=.*b.json' is of other images, .* outside of its image.*[.]$"):
        join(make_dataset(), coco, readers)


def test_a_file_that_changed_is_told_on_resume(student_yaml, data_yaml, write_answers, log, tmp_path):
    """An interrupted run goes on with the file as it is now, and says that it is another one than before."""
    path = write_answers(tmp_path / "a.jsonl")

    def stop(trainer):
        raise KeyboardInterrupt

    model = YOLO(student_yaml)
    model.add_callback("on_model_save", stop)
    with pytest.raises(KeyboardInterrupt):
        model.train(model_t=str(path), fraction=0.5, **{**options(data_yaml, tmp_path), "epochs": 2})
    before = torch.load(tmp_path / "run/weights/last.pt", weights_only=False)["distill"]["answers"]
    assert before == {"a.jsonl": Recorded(path).sha256}
    write_answers(path, score=0.5)
    log.clear()
    YOLO(tmp_path / "run/weights/last.pt").train(resume=True)
    assert any("a.jsonl' has changed since the run began" in x for x in log())
