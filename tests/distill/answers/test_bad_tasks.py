# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Bad files of masks, keypoints and rotated boxes: one sentence, before training."""

import pytest
from answer_files import NAMES, write_labels_as_answers
from short_run import options

from ultralytics import YOLO
from ultralytics.distill.answers.file import footer, header, line, read_answers

BOX = ([[0.5, 0.5, 0.2, 0.2]], [[0]], [[0.9]])
SQUARE = [0.4, 0.4, 0.6, 0.4, 0.6, 0.6, 0.4, 0.6]
BAD = {
    "no polygons": ("segment", {}, "has no 'segments' in line 2, image 'a.png'"),
    "two points": (
        "segment",
        {"segments": [[0.1, 0.1, 0.2, 0.2]]},
        "has not a polygon of three points or more for each",
    ),
    "a polygon too few": ("segment", {"segments": []}, "has not a polygon of three points or more for each box"),
    "outside": ("segment", {"segments": [[*SQUARE[:6], 40.0, 60.0]]}, "it has a polygon outside of its image"),
    "NaN polygon": ("segment", {"segments": [[*SQUARE[:7], float("nan")]]}, "has an outline that is no finite numbers"),
    "five corners": ("obb", {"segments": [[*SQUARE, 0.5, 0.5]]}, "has not four corners, eight numbers, for each box"),
    "two numbers a point": ("pose", {"keypoints": [[0.1] * 6]}, "has not 3 keypoints of three numbers for each box"),
    "visibility of 7": (
        "pose",
        {"keypoints": [[0.1, 0.1, 7.0] * 3]},
        "has a keypoint whose visibility is no number from",
    ),
    "NaN keypoint": ("pose", {"keypoints": [[float("nan")] * 9]}, "has a keypoint that is no finite numbers"),
    "text": ("segment", {"segments": [["a"] * 6]}, "holds something that is no number"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_one_sentence(name, tmp_path):
    """What is wrong with an outline or keypoints names its image."""
    task, more, says = BAD[name]
    told = {"task": task, **({"kpt_shape": [3, 3]} if task == "pose" else {})}
    text = line("a.png", (64, 64), *BOX, **(more if name != "text" else {}))
    text = text.replace("}\n", ', "segments": [["a", 1, 1, 1, 1, 1]]}\n') if name == "text" else text
    (tmp_path / "a.jsonl").write_text(header(NAMES, **told) + text + footer(1))
    with pytest.raises(ValueError) as error:
        read_answers(tmp_path / "a.jsonl")
    said = str(error.value)
    assert says in said and "a.png" in said and said.endswith(".") and "\n" not in said


@pytest.mark.parametrize(
    "told, says",
    [
        ({"task": "classify"}, "is of the task 'classify', and answers are of detect, segment, pose, obb"),
        ({"task": "pose"}, "does not say under 'kpt_shape' how many keypoints a box has, as in [17, 3]"),
        ({"task": "pose", "kpt_shape": [0, 3]}, "does not say under 'kpt_shape'"),
    ],
)
def test_a_bad_header_is_one_sentence(told, says, tmp_path):
    """A task without boxes, and keypoints without their number."""
    (tmp_path / "a.jsonl").write_text(header(NAMES, **told) + footer(0))
    with pytest.raises(ValueError) as error:
        read_answers(tmp_path / "a.jsonl")
    assert says in str(error.value) and str(error.value).endswith(".")


def test_a_file_of_another_kind_is_refused(draw, tmp_path):
    """Upright boxes for a student of rotated ones: one sentence before training."""
    path = write_labels_as_answers(draw("segment"), "segment", tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="^'model_t=.*': the student's boxes are rotated and the teacher's upright"):
        YOLO("yolov8n-obb.yaml").train(model_t=str(path), **options(draw("obb"), tmp_path))
