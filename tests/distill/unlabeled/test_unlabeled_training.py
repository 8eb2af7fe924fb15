"""Trainings with images without labels: what is said, kept, drawn and left alone."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from short_run import options, rows
from small_models import NAMES, build_model

from ultralytics import YOLO
from ultralytics.distill.answers import final
from ultralytics.distill.graph import capture
from ultralytics.distill.unlabeled import plot
from ultralytics.distill.unlabeled.batches import Unlabeled, split
from ultralytics.distill.unlabeled.dataset import without_labels
from ultralytics.distill.upstream import LINE, load_yaml, save_yaml


@pytest.fixture(scope="module")
def field(data_yaml, tmp_path_factory):
    """Six images, one of them broken, a copy of another and one of the validation set; labels lie beside them."""
    root = tmp_path_factory.mktemp("field")
    images, labels = root / "images", root / "labels"
    images.mkdir(), labels.mkdir()
    source = data_yaml.parent / "images"
    for i in range(6):
        shutil.copy(source / f"train/{i}.png", images)
    for i in range(6):  # other bytes than the labelled ones, with a label that must not be read
        with open(images / f"{i}.png", "ab") as f:
            f.write(b"more")
        (labels / f"{i}.txt").write_text("2 0.5 0.5 0.9 0.9\n")
    shutil.copy(images / "0.png", images / "copy.png")
    shutil.copy(source / "val/1.png", images / "seen.png")
    (images / "broken.jpg").write_bytes(b"nothing")
    return images


@pytest.fixture
def train(data_yaml, student_yaml, teacher_pt, field, tmp_path):
    """`train(epochs=1, ...)`: a run in tmp_path with the field's images; returns its trainer."""

    def make(data=data_yaml, model=student_yaml, **more):
        given = {"model_t": str(teacher_pt), "unlabeled": str(field), "distill_logit": "bce", **more}
        yolo = YOLO(model)
        yolo.train(**options(data, tmp_path, **given))
        return yolo.trainer

    return make


def test_a_run_and_its_resume(train, field, tmp_path, log):
    """What is left out is named, each kind has its columns, no file appears among the images, and the place is kept."""
    before = sorted(p.name for p in field.parent.rglob("*"))
    trainer = train(epochs=2, save_period=1, fraction=0.5, multi_scale=0.5 if LINE == "8.4" else True, close_mosaic=1)
    said = "\n".join(log())
    assert "1 of 9 unlabelled images cannot be read and are skipped" in said and "broken.jpg" in said
    assert "1 of 9 unlabelled images are copies of others and are skipped" in said and "copy.png" in said
    assert "1 of 7 unlabelled images are in the validation set too" in said and "seen.png" in said
    assert "7 unlabelled images beside 4 labelled ones, 2 + 2 in a batch; an epoch is 2 batches" in said
    table, unlabeled = rows(tmp_path), trainer.distill.unlabeled
    assert len(table) == 2
    for row in table:
        assert row["distill/labeled/bce"] > 0 < row["distill/unlabeled/bce"] != row["distill/labeled/bce"]
    assert unlabeled.drawn == 2 * 2 * 2 and sorted(p.name for p in field.parent.rglob("*")) == before
    labels = unlabeled.loader.dataset.labels
    assert len(labels) == 7 and not any(len(x["cls"]) for x in labels) and unlabeled.loader.dataset.prefix
    first = trainer.train_loader.dataset.transforms
    assert type(unlabeled.loader.dataset.transforms) is type(first)
    last = tmp_path / "run/weights/last.pt"
    shutil.copy(tmp_path / "run/weights/epoch0.pt", last)
    resumed = YOLO(last)
    resumed.train(resume=True, device="cpu")
    assert resumed.trainer.distill.unlabeled.drawn == 8 and len(rows(tmp_path)) == 3


def test_of_the_yaml_of_the_data(train, data_yaml, field, tmp_path, log):
    """The key `unlabeled` of the data set, from whose path it starts; other losses take their rest as ever."""
    shutil.copytree(field, data_yaml.parent / "more", dirs_exist_ok=True)
    save_yaml(tmp_path / "data.yaml", {**load_yaml(data_yaml), "unlabeled": ["more"]})
    arguments = {"unlabeled": None, "rect": True, "single_cls": True, "cache": "ram", "unlabeled_share": 0.25}
    trainer = train(tmp_path / "data.yaml", distill_stop=1, epochs=2, distill_rel="sp", **arguments)
    assert trainer.distill.unlabeled.drawn == 3 * 1  # 8 labelled images in three batches; none in the last epoch
    assert trainer.distill.unlabeled.loader.dataset.ims[0] is not None
    assert any("7 unlabelled images beside 8 labelled ones, 1 + 3 in a batch" in x for x in log())


def test_without_any_labels(train, field, tmp_path, log):
    """Classes alone: the student learns from its teacher, the task loss is zero, and the run can be resumed."""
    save_yaml(tmp_path / "names.yaml", {"path": str(tmp_path), "names": NAMES})
    trainer = train(tmp_path / "names.yaml", epochs=2, save_period=1, batch=3, distill_check=True)
    assert len(trainer.train_loader) == 3 and trainer.distill.unlabeled.drawn == 2 * 7
    said = "\n".join(log())
    assert "7 unlabelled images and no labelled one" in said and "has no validation set" in said
    assert "looks untrained" not in said
    for row in rows(tmp_path):
        assert row["train/box_loss"] == row["train/cls_loss"] == 0 < row["train/dlogit_loss"]
    start, end = build_model(seed=0).state_dict(), YOLO(tmp_path / "run/weights/best.pt").model.state_dict()
    assert start.keys() == end.keys()
    shutil.copy(tmp_path / "run/weights/epoch0.pt", tmp_path / "run/weights/last.pt")
    YOLO(tmp_path / "run/weights/last.pt").train(resume=True, device="cpu")
    assert len(rows(tmp_path)) == 3 and rows(tmp_path)[-1]["train/box_loss"] == 0


def test_classes_and_a_validation_set(train, data_yaml, tmp_path, log):
    """`train:` may be missing: the labels of `val` are for validation alone."""
    whole = load_yaml(data_yaml)
    save_yaml(tmp_path / "val.yaml", {k: whole[k] for k in ("path", "val", "names")})
    trainer = train(tmp_path / "val.yaml", batch=-1, unlabeled_share=0.3)
    assert any("'unlabeled_share=0.3' has no effect without labelled images" in x for x in log())
    assert trainer.batch_size == 16 and len(trainer.train_loader.dataset) == 7 and len(trainer.test_loader.dataset) == 4
    assert rows(tmp_path)[0]["train/box_loss"] == 0 and not any("no validation set" in x for x in log())


WRONG = {
    "nothing found": ({"unlabeled": "nowhere"}, "'unlabeled=nowhere' leads to no image"),
    "share": ({"unlabeled_share": 1.0}, "'unlabeled_share=1.0' must be a number above 0 and below 1"),
    "none left": ({"unlabeled_share": 0.9}, "'unlabeled_share=0.9' leaves no labelled image in a batch of 4"),
    "nothing drawn": ({"unlabeled_share": 0.1}, "'unlabeled_share=0.1' leaves no unlabelled image in a batch of 4"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_one_sentence(name, train, tmp_path):
    """Said before the first batch; nothing is left that looks like a run."""
    given, sentence = WRONG[name]
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        train(**given)
    assert not (tmp_path / "run").exists()


ALONE = {
    "online": ({"distill_online": True}, "'distill_online=True' trains the teacher on labels"),
    "balance": ({"distill_balance": "ratio"}, "'distill_balance' weighs the terms by the task loss"),
    "alpha": ({"distill_alpha": 0.5}, "'distill_alpha=0.5' mixes labels"),
    "alpha of boxes": ({"distill_alpha": 0.5, "distill_logit": "pseudo"}, "'distill_alpha=0.5' mixes labels"),
    "fgd": ({"distill_feat": "fgd"}, "the term 'fgd' reads labels"),
    "stop": ({"distill_stop": 1, "epochs": 2}, "'distill_stop=1' leaves nothing to learn"),
}


@pytest.mark.parametrize("name", ALONE)
def test_what_needs_a_label_where_there_is_none(name, train, tmp_path):
    """It is named, and nothing is left that looks like a run."""
    save_yaml(tmp_path / "names.yaml", {"path": str(tmp_path), "names": NAMES})
    given, sentence = ALONE[name]
    with pytest.raises(ValueError, match=sentence):
        train(tmp_path / "names.yaml", **given)
    assert not (tmp_path / "run").exists()


def test_without_a_teacher_it_is_said(train, log):
    """Upstream trains on; the images are not used, which is said."""
    with pytest.raises(RuntimeError):
        train(data="nowhere.yaml", model_t=None)
    assert any("'unlabeled=" in x and "no effect without a teacher" in x for x in log())


def test_unlabelled_images_follow_the_size_of_the_labelled_ones():
    """They draw no scale of their own under multi_scale, which the next labelled batch has again."""
    args, seen = SimpleNamespace(multi_scale=0.5), []
    unlabeled = Unlabeled.__new__(Unlabeled)
    unlabeled.alone, unlabeled.drawn = False, 0
    drawn = {"img": torch.rand(2, 3, 64, 64)}
    unlabeled.loader = SimpleNamespace(draw=lambda: drawn, rounds=SimpleNamespace(drawn=2), dataset=None)
    trainer = SimpleNamespace(args=args, preprocess_batch=lambda batch: seen.append(args.multi_scale) or batch)
    more = unlabeled.draw(trainer, {"img": torch.rand(2, 3, 96, 96)})
    assert seen == [0] and args.multi_scale == 0.5 and more["img"].shape == (2, 3, 96, 96) and unlabeled.drawn == 2


def test_split():
    """A batch is shared out by the share, and the rest is labelled."""
    assert split(16, 0.5) == (8, 8) and split(16, 0.25) == (12, 4) and split(3, 0.5) == (1, 2)


def test_a_set_of_another_kind_is_refused():
    """Its augmentations are not known."""
    with pytest.raises(ValueError, match="'unlabeled' takes its augmentations from one data set"):
        without_labels(SimpleNamespace(), [], None)


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n-obb.yaml", "yolo11n-cls.yaml"])
def test_the_picture_shows_what_the_teacher_sees(name, monkeypatch, tmp_path):
    """Boxes, classes and confidences are those that upstream decodes from the same output."""
    model = build_model(name, seed=1, trained=True).eval()
    monkeypatch.setattr(plot, "SURE", -1.0)
    monkeypatch.setattr(final, "suppress", lambda objects, iou, size: torch.arange(len(objects)))
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        decoded = model(images)
        decoded = decoded[0] if isinstance(decoded, tuple) else decoded
        model.model[-1].training = True
        with capture(model) as seen:
            model(images)
        found = plot.read_output(model, seen.output)
    if "cls" in name:
        assert torch.equal(found["cls"], decoded.argmax(1)) and found["batch_idx"].tolist() == [0, 1]
    else:
        count = decoded.shape[2]
        assert torch.equal(found["batch_idx"], torch.arange(2).repeat_interleave(count))
        boxes = decoded[:, :4].transpose(1, 2) / torch.tensor([96, 64, 96, 64])  # (2, A, 4), in another order
        shown = found["bboxes"][:, :4].view(2, count, 4)
        far, place = (shown[:, :, None] - boxes[:, None]).abs().amax(3).min(2)
        assert far.max() < 1e-4 and torch.equal(place.sort(1).values, torch.arange(count).expand(2, -1))
        decoded = decoded.gather(2, place[:, None].expand_as(decoded))
        conf, cls = decoded[:, 4:7].max(1)
        assert torch.allclose(found["conf"], conf.flatten()) and torch.equal(found["cls"], cls.flatten())
        if "obb" in name:
            assert torch.allclose(found["bboxes"][:, 4], decoded[:, 7].flatten(), atol=1e-5)
    step = SimpleNamespace(online=False, teacher=lambda x: seen)
    step.distiller = SimpleNamespace(prepare=lambda x: x)
    run = SimpleNamespace(step=step, sources=[SimpleNamespace(module=model)])
    args = SimpleNamespace(plots=True)
    trainer = SimpleNamespace(distill=run, args=args, save_dir=tmp_path, on_plot=None)
    before = images.clone()
    plot.draw_batch(trainer, {"img": images, "im_file": ["a.png", "b.png"]})
    assert (tmp_path / plot.FILE).stat().st_size > 1000 and torch.equal(images, before)
