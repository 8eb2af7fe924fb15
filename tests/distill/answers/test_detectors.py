# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Detectors of other libraries as teachers: torchvision's, and any function that answers as they do."""

import pytest
import torch
from short_run import columns, options, rows
from small_models import shrink
from torch import nn
from torchvision.models.detection import KeypointRCNN, MaskRCNN, fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from ultralytics import YOLO
from ultralytics.distill.answers.extra import extra_of
from ultralytics.distill.answers.file import read_answers
from ultralytics.distill.answers.final import final_boxes
from ultralytics.distill.heads.classes import Classes
from ultralytics.distill.teacher.source import resolve
from ultralytics.distill.teacher.write_answers import write_answers
from ultralytics.distill.upstream import save_yaml

NAMES = {1: "stripe", 2: "circle", 3: "square"}  # as torchvision has them: 0 is background


@pytest.fixture(scope="module")
def detector():
    """A small Faster R-CNN with random weights, which is sure of all it sees."""
    torch.manual_seed(0)
    sizes = {"min_size": 64, "max_size": 64, "box_score_thresh": 0.2, "box_detections_per_img": 5}
    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=4, **sizes).eval()
    model.names = NAMES
    return model


def say(images):
    """Name one square in each image, as a function of one's own may."""
    found = {
        "boxes": torch.tensor([[8.0, 16.0, 40.0, 48.0]]),
        "scores": torch.tensor([0.6]),
        "labels": torch.tensor([2]),
    }
    return [found for _ in images]


def answers(teacher, images, classes, conf=0.2):
    """Return what a teacher says of images."""
    with torch.no_grad():
        return final_boxes(teacher(images), [], classes, 3, conf)


def test_boxes_are_torchvisions_own(detector, tmp_path):
    """Corners in pixels become shares of the image, labels the student's classes, and scores stay as they are."""
    teacher, images = resolve(detector, tmp_path / "t.pt", 64).module, torch.rand(2, 3, 64, 96)
    assert teacher.names == NAMES and teacher.channels == 3
    found, said = answers(teacher, images, Classes([0, 1, 2], [2, 3, 1])), detector(images)
    assert len(found) == sum(len(x["labels"]) for x in said) > 2
    assert torch.equal(found.cls, torch.cat([(x["labels"] + 1) % 3 for x in said]))
    torch.testing.assert_close(found.scores.amax(1), torch.cat([x["scores"] for x in said]))
    corners = torch.cat([found.boxes[:, :2] - found.boxes[:, 2:] / 2, found.boxes[:, :2] + found.boxes[:, 2:] / 2], 1)
    torch.testing.assert_close(corners * torch.tensor([96.0, 64, 96, 64]), torch.cat([x["boxes"] for x in said]))


def test_labels_and_scores_choose(detector, tmp_path):
    """A label that the student does not know and a score below the threshold are left out; images may stay empty."""
    say.names = ["circle", "background", "square"]
    teacher = resolve(say, tmp_path / "t.pt", 64).module
    images = torch.rand(2, 3, 64, 64)
    known = answers(teacher, images, Classes([1], [2]))
    assert known.cls.tolist() == [1, 1] and known.image.tolist() == [0, 1]
    assert known.boxes.tolist() == [[0.375, 0.5, 0.5, 0.5]] * 2
    assert len(answers(teacher, images, Classes([0], [0]))) == 0
    assert len(answers(teacher, images, Classes([1], [2]), conf=0.7)) == 0
    none = [{**x, "labels": torch.full_like(x["labels"], -1), "size": (64, 64)} for x in say(images)]
    assert len(final_boxes(none, [], Classes([0, 1], [0, 2]), 3, 0.1)) == 0


@pytest.fixture(scope="module")
def rcnn():
    """Return how a Mask or Keypoint R-CNN of torchvision with a tiny backbone and random weights is built."""

    def build(kind, **options):
        torch.manual_seed(0)
        backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 16, 1), nn.ReLU())
        backbone.out_channels = 8
        anchors = AnchorGenerator(((16, 32),), ((1.0,),))
        sizes = {"min_size": 64, "max_size": 64, "box_score_thresh": 0.1, "box_detections_per_img": 4}
        pools = {"box_roi_pool": MultiScaleRoIAlign(["0"], 3, 2), f"{kind}_roi_pool": MultiScaleRoIAlign(["0"], 6, 2)}
        build = {"mask": MaskRCNN, "keypoint": KeypointRCNN}[kind]
        model = build(backbone, rpn_anchor_generator=anchors, **sizes, **pools, **options).eval()
        if kind == "mask":
            model.roi_heads.mask_predictor.mask_fcn_logits.weight.data.mul_(50)  # it is sure of some pixels
        model.names = NAMES
        return model

    return build


def test_masks_are_torchvisions_own(rcnn, tmp_path):
    """Mask R-CNN's masks come with their boxes, above 0 inside; those of dropped boxes go, and so do empty ones."""
    teacher, images = resolve(rcnn("mask", num_classes=4), tmp_path / "t.pt", 64).module, torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        said, output = teacher.inner(images), teacher(images)
    conf = float(torch.cat([x["scores"] for x in said]).median())
    kept = [(i, m[0] > 0.5) for i, x in enumerate(said) for m, v in zip(x["masks"], x["scores"]) if v >= conf]
    output[0]["masks"][0] = kept.pop(0)[1].zero_()  # the first, and surest, has no pixel
    found = final_boxes(output, [], Classes([1], [2]), 3, conf, extra_of(teacher))
    assert extra_of(teacher).name == "masks" and found.image.tolist() == [i for i, _ in kept] and len(kept) > 1
    assert torch.equal(found.more["masks"] > 0, torch.stack([m for _, m in kept]))
    assert not final_boxes(output, [], Classes([1], [2]), 3, conf).more


def test_keypoints_are_torchvisions_own(rcnn, tmp_path):
    """Keypoint R-CNN's points become shares of the image's sides; an image may have none."""
    teacher, images = (
        resolve(rcnn("keypoint", num_classes=2, num_keypoints=5), tmp_path / "t.pt", 64).module,
        torch.rand(2, 3, 64, 96),
    )
    with torch.no_grad():
        said = teacher.inner(images)
        output = teacher(images)
    output[0] = {k: v if k == "size" else v[:0] for k, v in output[0].items()}
    found = final_boxes(output, [], Classes([0], [1]), 3, 0, extra_of(teacher))
    assert (extra_of(teacher).name, extra_of(teacher).points) == ("keypoints", 5)
    wanted = said[1]["keypoints"] / torch.tensor([96.0, 64.0, 1.0])
    torch.testing.assert_close(found.more["keypoints"], wanted)
    assert found.image.tolist() == [1] * len(wanted) and len(wanted)


@pytest.mark.parametrize("names", [None, {}, {"cat": 1}, 3])
def test_numbers_without_names_are_refused(detector, tmp_path, names):
    """A label's number alone says nothing; one sentence says how to name it."""
    say.names = names
    with pytest.raises(ValueError, match=r"^'model_t' is a say, whose labels are numbers; .* model.names = \{1: 'cat'"):
        resolve(say, tmp_path / "t.pt", 64)


def test_what_returns_no_boxes_is_refused(tmp_path):
    """A function that returns something else is told what a teacher returns."""
    with pytest.raises(ValueError, match="or for each image a dictionary of boxes, scores and labels"):
        resolve(lambda images: images.mean((1, 2, 3)), tmp_path / "t.pt", 64)
    with pytest.raises(ValueError, match="is not a path, a YOLO, an nn.Module or a function"):
        resolve(nn.Identity, tmp_path / "t.pt", 64)


def test_a_detector_of_other_classes_is_refused(detector, draw, student_yaml, tmp_path):
    """Where nothing of the recipe fits, the sentence says why."""
    with pytest.raises(
        ValueError, match=r"none of the terms of the recipe: relative .*; cwd .*; pseudo \(no class name is shared"
    ):
        YOLO(student_yaml).train(model_t=detector, **options(draw("detect"), tmp_path))


def test_torchvision_teaches_a_student(detector, student_yaml, data_yaml, tmp_path, log):
    """`auto` is the recipe on its boxes; the run ends with a plain student, and with the teacher in a file."""
    YOLO(student_yaml).train(model_t=detector, fraction=0.5, **options(data_yaml, tmp_path))
    assert "distill/giou" in columns(tmp_path) and rows(tmp_path)[0]["distill/giou"] > 0
    assert any("final boxes are spread over the student's anchors, for relative, ld, giou to" in x for x in log())
    saved = resolve(str(tmp_path / "run/weights/teacher.pt"), tmp_path, 64).module
    assert saved.names == NAMES


def test_masks_teach_live_and_from_a_file(rcnn, draw, tmp_path, log):
    """A segmenter learns a Mask R-CNN's masks while it runs; the file that it writes holds them as polygons."""
    teacher, data = rcnn("mask", num_classes=4), draw("segment")
    teacher.names = {2: "red"}
    save_yaml(
        tmp_path / "yolo11-seg.yaml", {k: v for k, v in shrink("yolo11n-seg.yaml", 0.125).items() if k != "yaml_file"}
    )
    YOLO(tmp_path / "yolo11-seg.yaml").train(model_t=teacher, fraction=0.5, **options(data, tmp_path))
    assert rows(tmp_path)[0]["distill/pseudo"] > 0 and not any("are learnt from the labels" in x for x in log())
    path = write_answers(teacher, data, tmp_path / "a.jsonl", imgsz=64, flip=True, workers=0, batch=4, device="cpu")
    table = read_answers(path)
    assert table.extra == "masks" and len(table.points) > 2
