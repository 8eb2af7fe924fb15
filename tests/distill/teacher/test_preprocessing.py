# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a teacher sees of the student's images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from lines import needs_84
from short_run import columns, options, rows
from torch import nn
from torchvision.transforms.functional import normalize

from demo import draw_dataset
from ultralytics import YOLO
from ultralytics.distill.arguments import read
from ultralytics.distill.inference import input_channels
from ultralytics.distill.teacher.preprocessing import Preprocessing, check_preprocessing
from ultralytics.distill.teacher.several import read_each
from ultralytics.distill.upstream import LINE, load_yaml, save_yaml

OWN = {"distill_logit": "none"}


@pytest.mark.parametrize(
    "given, size, multiple, seen",
    [
        ((64, 64), None, 32, (64, 64)),
        ((64, 64), 64, 32, (64, 64)),
        ((64, 64), 96, 32, (96, 96)),
        ((64, 128), 64, 32, (32, 64)),
        ((96, 128), 160, 32, (128, 160)),  # 120 rounded up to the stride
        ((128, 64), (32, 96), 1, (32, 96)),
        ((64, 64), 56, 14, (56, 56)),
    ],
)
def test_size(given, size, multiple, seen):
    """The longer side is the size asked for and the ratio is kept up to the stride; a pair is taken as it is."""
    images = torch.rand(2, 3, *given)
    found = Preprocessing(3, 3, size, multiple)(images)
    assert found.shape == (2, 3, *seen) and (found is images) == (given == seen)


def test_smaller_images_are_smoothed():
    """A pattern finer than the teacher's pixels becomes its mean, not every other of its points."""
    stripes = torch.arange(64).remainder(4).ge(2).float().expand(1, 3, 64, 64)
    assert Preprocessing(3, 3, 16)(stripes)[..., 2:-2].sub(0.5).abs().max() < 0.05


def test_one_channel_is_the_sum_of_the_weights():
    """Gray images shown as three channels are the same as a first convolution with its weights summed."""
    conv, gray = nn.Conv2d(3, 8, 3, 2, 1), torch.rand(2, 1, 16, 16)
    fitted = nn.functional.conv2d(gray, conv.weight.sum(1, keepdim=True), conv.bias, 2, 1)
    torch.testing.assert_close(conv(Preprocessing(1, 3)(gray)), fitted)


def test_colours_as_opencv_reads_gray():
    """A teacher of one channel sees what OpenCV would have read for it."""
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    seen = Preprocessing(3, 1)(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    expected = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).float() / 255
    torch.testing.assert_close(seen[0, 0], expected, atol=1 / 255, rtol=0)


def test_many_channels():
    """Of more channels the first are taken, fewer are filled with nothing, and one gets the mean."""
    x = torch.rand(1, 5, 4, 4)
    assert torch.equal(Preprocessing(5, 3)(x), x[:, :3])
    assert torch.equal(Preprocessing(5, 6)(x)[:, :5], x) and not Preprocessing(5, 6)(x)[:, 5:].any()
    torch.testing.assert_close(Preprocessing(5, 1)(x), x.mean(1, keepdim=True))


@pytest.mark.parametrize("mean, std", [([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.5], [0.25])])
def test_normalisation(mean, std):
    """Mean and deviation are those of torchvision's transform, in the teacher's channels."""
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(
        Preprocessing(1, 3, mean=mean, std=std)(x), normalize(x.expand(-1, 3, -1, -1), mean, std)
    )


@pytest.mark.parametrize(
    "more, says",
    [
        ({"distill_imgsz": 100}, "distill_imgsz=100' must be a multiple of 32, the teacher's largest stride; 96 would"),
        ({"distill_imgsz": [64, 90]}, r"distill_imgsz=\(64, 90\)' must be a multiple of 32.*\[64, 96\] would do"),
        ({"distill_mean": [0.1, 0.2]}, r"distill_mean=\[0.1, 0.2\]' has 2 numbers for the teacher's 3 channels"),
        ({"distill_std": [1.0] * 4}, "distill_std=.* has 4 numbers for the teacher's 3 channels"),
    ],
)
def test_what_does_not_fit(more, says, make_model, make_args):
    """A size or a normalisation that the teacher cannot have is refused with what would do."""
    with pytest.raises(ValueError, match=says):
        check_preprocessing(read(make_args(**more)), make_model())


@pytest.mark.parametrize(
    "overrides, says",
    [
        ({"distill_imgsz": 0}, "distill_imgsz=0' must be a whole number of pixels"),
        ({"distill_imgsz": "large"}, "distill_imgsz=large' must be a whole"),
        ({"distill_imgsz": [1, 2, 3]}, r"distill_imgsz=\[1, 2, 3\]' must be a whole"),
        ({"distill_imgsz": 64.5}, "distill_imgsz=64.5"),
        ({"distill_mean": [123.7, 116.3, 103.5]}, "distill_mean=123.7' must be .* at most 1"),
        ({"distill_mean": []}, r"distill_mean=\[\]' holds no number"),
        ({"distill_std": [0.2, 0]}, "distill_std=0' must be a finite number above 0"),
        ({"distill_std": "wide"}, "distill_std=wide' must be"),
    ],
)
def test_what_is_no_size(overrides, says, make_args):
    """A size that is none and a number out of range are found before a model is."""
    with pytest.raises(ValueError, match=says):
        read(make_args(**overrides))


def test_both_ways_of_saying_it(make_args):
    """One number, a list and the command line's text mean the same."""
    one = read(make_args(distill_imgsz=[320], distill_mean=0.5, distill_std="[0.1,0.2,0.3]"))
    assert (one.imgsz, one.mean, one.std) == (320, [0.5], [0.1, 0.2, 0.3])


def test_each_teacher_its_own(make_args):
    """Of a list with one item a teacher each takes its own; any other list is for all of them."""
    args = make_args(distill_imgsz=[[64, 96], None], distill_mean=[None, [0.5]], distill_std=[0.1, 0.2])
    first, second = read_each(args, 2)
    assert (first.imgsz, first.mean, first.std) == ((64, 96), None, [0.1, 0.2])
    assert (second.imgsz, second.mean, second.std) == (None, [0.5], [0.1, 0.2])


def test_the_teacher_has_its_own_size(data_yaml, teacher_pt, student_yaml, tmp_path, log):
    """A run with a larger teacher image trains by the whole recipe and says so."""
    more = {"distill_imgsz": 96, "distill_feat": "cwd", "multi_scale": 0.5 if LINE == "8.4" else True}
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), **more))
    row, said = rows(tmp_path)[0], "\n".join(log())
    assert row["train/dfea_loss"] > 0 and row["distill/relative"] > 0
    assert "sees images of 96 pixels on the longer side" in said and "teacher layer 15 (64x12x12)" in said
    assert "skipped" not in said and {f"distill/{x}" for x in ("relative", "ld", "giou")} <= set(columns(tmp_path))


@needs_84("trains on images of three channels alone")
def test_every_channel_of_the_data(teacher_pt, student_yaml, tmp_path, log):
    """A teacher of colour images teaches a student of gray ones, and how it sees them is said."""
    data = load_yaml(file := draw_dataset(tmp_path / "data", 4, 2, 64))
    save_yaml(file, {**data, "channels": 1})
    student = YOLO(student_yaml)
    student.train(**options(file, tmp_path, model_t=str(teacher_pt), **OWN))
    assert input_channels(student.model) == 1 and rows(tmp_path)[0]["train/dfea_loss"] > 0
    assert any("sees the data's one channel in each of its 3" in line for line in log())


@needs_84("trains on images of three channels alone")
def test_more_channels_than_colours(teacher_pt, student_yaml, tmp_path, log):
    """A teacher of colour images sees the first three of the data's five channels, and says so."""
    data = load_yaml(file := draw_dataset(tmp_path / "data", 4, 2, 64))
    save_yaml(file, {**data, "channels": 5})
    for path in (tmp_path / "data/images").rglob("*.jpg"):
        image = cv2.imread(str(path))
        cv2.imwritemulti(str(path.with_suffix(".tiff")), [*cv2.split(image), *cv2.split(image[..., :2])])
        path.unlink()
    student = YOLO(student_yaml)
    student.train(**options(file, tmp_path, model_t=str(teacher_pt), **OWN))
    assert input_channels(student.model) == 5 and rows(tmp_path)[0]["train/dfea_loss"] > 0
    assert any("sees the first 3 of the data's 5 channels" in line for line in log())
