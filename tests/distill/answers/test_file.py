# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Files of answers: what is read out of each format, and one sentence for each that is bad."""

import json

import numpy as np
import pytest

from ultralytics.distill.answers.file import footer, header, line, read_answers
from ultralytics.distill.answers.recorded import Recorded
from ultralytics.distill.answers.table import find_images, stem_of

NAMES = {0: "circle", 1: "square", 2: "stripe"}


def test_a_file_gives_back_what_was_written(tmp_path):
    """Boxes, all class scores, image sizes and names come back as they were, image by image."""
    path = tmp_path / "a.jsonl"
    one = line(
        "images/a.png", (64, 48), [[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]], [[2, 0], [1]], [[0.7, 0.2], [0.4]]
    )
    path.write_text(header(NAMES, conf=0.05) + one + line("images/b.png", (32, 32), [], [], []) + footer(2))
    table = read_answers(path)
    assert table.names == NAMES and table.told["conf"] == 0.05 and table.images == ["images/a.png", "images/b.png"]
    assert table.shapes.tolist() == [[64, 48], [32, 32]] and table.first.tolist() == [0, 2, 2]
    assert table.start.tolist() == [0, 2, 3] and table.cls.tolist() == [2, 0, 1]
    np.testing.assert_allclose(table.boxes, [[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]])
    np.testing.assert_allclose(table.score, [0.7, 0.2, 0.4])


@pytest.mark.parametrize("whole", [False, True])
def test_coco_results_say_the_same(write_answers, write_coco, tmp_path, whole):
    """A list of results, boxes in pixels from the corner, holds what our own file holds; a data set's has names too."""
    own, coco = (
        read_answers(write_answers(tmp_path / "a.jsonl")),
        read_answers(write_coco(tmp_path / "a.json", 1, whole)),
    )
    assert len(own.images) == len(coco.images) == 8
    assert coco.names == ({k + 1: v for k, v in NAMES.items()} if whole else {})
    order = find_images(own.images, coco.images)
    for i, j in enumerate(order):
        a, b = own.boxes_of(i), coco.boxes_of(j)
        np.testing.assert_allclose(own.boxes[a], coco.boxes[b] / (1 if whole else 64), atol=1e-5)
        assert own.cls[a].tolist() == (coco.cls[b] - 1).tolist()


GOOD = line("a.png", (64, 64), [[0.5, 0.5, 0.2, 0.2]], [[0]], [[0.9]])
BAD = {
    "not JSON": ("{broken\n", "is no JSON from line 1 on"),
    "cut off": (header(NAMES) + GOOD + GOOD[:30], "is incomplete: it has 1 images and misses an end line"),
    "no end": (header(NAMES) + GOOD, "misses an end line; run 'python distill.py answers' once more"),
    "end of another file": (header(NAMES) + GOOD + footer(9), "has 1 images and misses 9 images"),
    "more behind the end": (header(NAMES) + footer(0) + GOOD, "goes on behind its end in line 3"),
    "no header": (GOOD + footer(1), "its first line has no classes under 'names'"),
    "names no index": (header({"x": "circle"}) + footer(0), "a class in 'names' that is no index: ['x']"),
    "a list": (header(NAMES) + "[1]\n" + footer(0), "its line 2 is no object"),
    "empty": ("", "is incomplete: it has 0 images"),
}
ROWS = {
    "negative size": ([[0.5, 0.5, -0.2, 0.2]], [[0]], [[0.9]], "has a box of negative size, [0.5, 0.5, -0.2, 0.2]"),
    "outside": ([[0.95, 0.5, 0.2, 0.2]], [[0]], [[0.9]], "has a box outside of its image, [0.95, 0.5, 0.2, 0.2]"),
    "NaN score": ([[0.5, 0.5, 0.2, 0.2]], [[0]], [[float("nan")]], "has a score that is no number from 0 to 1"),
    "NaN box": ([[float("nan"), 0.5, 0.2, 0.2]], [[0]], [[0.9]], "has a box that is not four finite numbers"),
    "score of 90": ([[0.5, 0.5, 0.2, 0.2]], [[0]], [[90.0]], "has a score that is no number from 0 to 1"),
    "unknown class": ([[0.5, 0.5, 0.2, 0.2]], [[7]], [[0.9]], "has a score of class 7, which its 'names' do not list"),
    "three numbers": ([[0.5, 0.5, 0.2]], [[0]], [[0.9]], "has not four numbers and as many classes as scores"),
    "no score": ([[0.5, 0.5, 0.2, 0.2]], [[]], [[]], "has not four numbers and as many classes as scores"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_sentence(tmp_path, name):
    """What is wrong with the whole file is said in one sentence that names it."""
    text, says = BAD[name]
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        read_answers(path)
    said = str(error.value)
    assert said.startswith(f"'model_t={path}' ") and says in said and said.endswith(".") and "\n" not in said


@pytest.mark.parametrize("name", ROWS)
def test_bad_rows_are_one_sentence(tmp_path, name):
    """What is wrong with one box names its image."""
    *row, says = ROWS[name]
    path = tmp_path / "a.jsonl"
    path.write_text(header(NAMES) + GOOD + line("bad.png", (64, 64), *row) + footer(2))
    with pytest.raises(ValueError) as error:
        read_answers(path)
    said = str(error.value)
    assert says in said and said.count(".png'") == ("class 7" not in says) and ("class 7" in says or "bad.png" in said)


def _without(key):
    """Return a change that takes a key out of the first result."""
    return lambda rows: [{k: v for k, v in rows[0].items() if k != key}, *rows[1:]]


COCO = {
    "a dictionary": (lambda rows: {"a": 1}, "is neither a list of results in COCO's format"),
    "empty": (lambda rows: [], "is neither a list of results in COCO's format"),
    "labels": (_without("score"), "has a result without 'score'"),
    "no class": (_without("category_id"), "has a result without 'category_id'"),
    "negative": (lambda rows: [{**rows[0], "bbox": [1, 1, -4, 4]}], "has a box of negative size"),
    "three numbers": (lambda rows: [{**rows[0], "bbox": [1, 1, 4]}], "has a result that cannot be read"),
    "text": (lambda rows: [{**rows[0], "score": "high"}], "has a result that cannot be read"),
    "NaN": (lambda rows: [{**rows[0], "score": float("nan")}], "has a score that is no number from 0 to 1"),
}


@pytest.mark.parametrize("name", COCO)
def test_bad_coco_results_are_one_sentence(write_coco, tmp_path, name):
    """The same of a list of COCO's results."""
    change, says = COCO[name]
    with pytest.raises(ValueError, match="model_t=.*a.json") as error:
        read_answers(write_coco(tmp_path / "a.json", change=change))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_missing_or_binary_file_is_named(tmp_path):
    """A path that leads nowhere, and a file that is no text."""
    with pytest.raises(FileNotFoundError, match="'model_t=.*no.json' does not exist; 'python distill.py answers'"):
        read_answers(tmp_path / "no.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="is no text file"):
        read_answers(tmp_path / "b.json")


def test_numbers_for_classes_are_taken_where_there_is_no_doubt(write_coco, tmp_path):
    """Ids from 0 or from 1 that use the whole range are the data's classes in order; else the file is refused."""
    for shift in (0, 1):
        found = Recorded(write_coco(tmp_path / f"{shift}.json", shift))
        found.name_classes(NAMES)
        assert found.names == {k + shift: v for k, v in NAMES.items()}
    found = Recorded(write_coco(tmp_path / "2.json", 2))
    with pytest.raises(ValueError, match="has category ids 2 to 4 without names, .* data's 3 classes"):
        found.name_classes(NAMES)
    coco = {i: n for i, n in enumerate(["person", *map(str, range(1, 79)), "toothbrush"])}
    found = Recorded(write_coco(tmp_path / "90.json", 88))
    found.table.cls[:] = 90
    found.name_classes(coco)
    assert found.names[90] == "toothbrush" and found.names[1] == "person"


def test_images_are_found_by_the_whole_path_that_the_file_gives():
    """Names alone match anywhere, names with folders in such folders only; numbers as COCO's ids."""
    assert find_images(["/d/x/000007.jpg", "/d/x/b.jpg"], ["b.png", "7"]).tolist() == [1, 0]
    assert find_images(["/d/x/a.jpg", "/d/y/a.jpg"], ["y/a.jpg", "z/a.jpg"]).tolist() == [-1, 0]
    assert find_images([r"C:\d\images\a.jpg"], ["images/a.jpg"]).tolist() == [0]
    assert find_images(["/d/val/0.png"], ["images/train/0.png"]).tolist() == [-1]
    with pytest.raises(ValueError, match="names 'a', which may be '/d/x/a.jpg' or '/d/y/a.jpg'; give its folder"):
        find_images(["/d/x/a.jpg", "/d/y/a.jpg"], ["a"])
    with pytest.raises(ValueError, match="names .a.* twice"):
        find_images(["/d/x/a.jpg"], ["a", "a.png"])
    assert find_images(["/d/a.jpg", "/d/a.png", "/d/7.png"], ["d/a.png", "d/7.png", "d/a.jpg"]).tolist() == [2, 0, 1]
    assert find_images(["/d/7.png", "/d/007.png"], ["7.png", "007.png"]).tolist() == [0, 1]
    assert find_images(["/d/a.jpg", "/d/a.png"], ["a.jpg"]).tolist() == [0, -1]
    named = ["/d/a_jpg.rf.0f1e.jpg", "/d/a_jpg.rf.2c3d.jpg"]  # upstream's results have the names without their ending
    assert find_images(named, ["a_jpg.rf.2c3d", "a_jpg.rf.0f1e"]).tolist() == [1, 0]
    assert stem_of("a/b.c/007.tar.png") == ("a", "b.c", "007.tar") and stem_of("012") == ("12",)


def test_json_of_a_line_is_plain(tmp_path):
    """A line is JSON that any language reads, rounded to what a box needs."""
    found = json.loads(line("a.png", (64, 64), [[1 / 3, 0.5, 0.2, 0.2]], [[0, 2]], [[0.123456, 0.5]]))
    assert found == {
        "image": "a.png",
        "shape": [64, 64],
        "boxes": [[0.33333, 0.5, 0.2, 0.2]],
        "classes": [[0, 2]],
        "scores": [[0.1235, 0.5]],
    }
