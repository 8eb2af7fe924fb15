# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Files of answers are written once: by any teacher, at its own size, merged, and on where they stopped."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import NAMES, build_model, save_model

from ultralytics import YOLO
from ultralytics.distill.answers.file import read_answers
from ultralytics.distill.boxes import Boxes
from ultralytics.distill.graph import class_heads
from ultralytics.distill.script.command import answer
from ultralytics.distill.teacher.views import merge_views
from ultralytics.distill.teacher.write_answers import write_answers

QUICK = {"imgsz": 64, "workers": 0, "batch": 4, "device": "cpu"}


def sure(seed, names=NAMES):
    """Return a detector with scores from low to high, of the given names."""
    model = build_model(width=0.25, seed=seed, trained=True)
    for layers in class_heads(model.model[-1])["one2many"]:
        layers[-1].bias.data.zero_()
        layers[-1].weight.data *= 40
    model.names = names
    return model


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    """A teacher's file, sure of much."""
    return save_model(sure(5), tmp_path_factory.mktemp("speaker") / "best.pt")


@pytest.fixture(scope="module")
def written(speaker, data_yaml, tmp_path_factory):
    """What it says of the training images."""
    return write_answers(speaker, data_yaml, tmp_path_factory.mktemp("w") / "a.jsonl", conf=0.3, **QUICK)


def test_answers_are_upstreams_predictions(written, speaker, data_yaml):
    """For each image the boxes, best scores and classes of `predict` stand in the file, with the other scores."""
    table, model = read_answers(written), YOLO(speaker)
    assert table.names == NAMES and table.images == [f"images/train/{i}.png" for i in range(8)]
    assert table.told["teachers"][0]["file"] == "best.pt" and len(table.told["teachers"][0]["sha256"]) == 64
    assert table.told["imgsz"] == [64] and table.shapes.tolist() == [[64, 64]] * 8
    for i, image in enumerate(table.images[:3]):
        shown = model.predict(Path(data_yaml).parent / image, imgsz=64, conf=0.3, iou=0.7, verbose=False)[0].boxes
        rows = table.boxes_of(i)
        best = np.maximum.reduceat(table.score, table.start[:-1])[rows]
        assert len(shown) == len(best) > 0
        theirs = torch.cat([shown.xywhn, shown.conf[:, None]], 1).cpu().numpy()
        mine = np.concatenate([table.boxes[rows], best[:, None]], 1)
        apart = np.abs(mine[:, None] - theirs[None]).max(2)
        assert apart.min(0).max() < 1e-3 and apart.min(1).max() < 1e-3
    assert len(table.score) > len(table.boxes)


def test_an_interrupted_file_goes_on(written, speaker, data_yaml, tmp_path):
    """What was cut off in the middle of a line is completed to the same file; a whole one is left alone."""
    path, lines = tmp_path / "a.jsonl", written.read_text().splitlines(True)
    path.write_text("".join(lines[:4]) + lines[4][:20])
    args = {"conf": 0.3, **QUICK}
    write_answers(speaker, data_yaml, path, **args)
    assert [json.loads(x).get("image") for x in path.read_text().splitlines()] == [
        json.loads(x).get("image") for x in lines
    ]
    assert read_answers(path).boxes.shape == read_answers(written).boxes.shape
    before = path.stat().st_mtime_ns
    assert write_answers(speaker, data_yaml, path, **args) == path and path.stat().st_mtime_ns == before
    for other in ({"conf": 0.4}, {"split": "val"}):
        with pytest.raises(ValueError, match="was begun by other teachers, for other data, or with another"):
            write_answers(speaker, data_yaml, path, **{**args, **other})
    path.write_text("".join(lines[:3]) + "{nothing\n")
    with pytest.raises(ValueError, match="a.jsonl' is no file of answers in line 4; give a new file"):
        write_answers(speaker, data_yaml, path, **args)


def test_images_that_came_later_are_added(speaker, data_yaml, tmp_path, log):
    """A whole file takes in what was put into the folder since; what is no image is named, also by a worker."""
    folder, path = tmp_path / "field", tmp_path / "a.jsonl"
    folder.mkdir()
    shutil.copy(Path(data_yaml).parent / "images/train/0.png", folder / "a.png")
    args = {"conf": 0.3, **QUICK, "workers": 1}
    path.write_text('{"answers": 1')  # cut off in the first line
    assert read_answers(write_answers(speaker, folder, path, **args)).images == ["field/a.png"]
    shutil.copy(folder / "a.png", folder / "b.png")
    (folder / "broken.jpg").write_bytes(b"nothing")
    assert read_answers(write_answers(speaker, folder, path, **args)).images == ["field/a.png", "field/b.png"]
    assert any("1 of 3 images cannot be read and are left out" in x and "broken.jpg" in x for x in log())


def test_sizes_flips_and_teachers_are_merged(speaker, data_yaml, tmp_path):
    """Two teachers, one of other classes, at two sizes and mirrored: one file with the classes of both."""
    other = save_model(sure(6, {0: "stripe", 1: "circle", 2: "ring"}), tmp_path / "other.pt")
    args = {**QUICK, "imgsz": [64, 96], "flip": True, "conf": 0.05}
    table = read_answers(write_answers([str(speaker), str(other)], data_yaml, tmp_path / "m.jsonl", **args))
    assert table.names == {**NAMES, 3: "ring"}
    assert [t["file"] for t in table.told["teachers"]] == ["best.pt", "other.pt"]
    assert set(table.cls.tolist()) == {0, 1, 2, 3} and 0 < table.score.max() <= 1


def test_a_folder_of_images_needs_no_labels(speaker, data_yaml, tmp_path):
    """A folder is enough, and images are named below it; nothing is written beside them."""
    root = Path(data_yaml).parent / "images/val"
    before = sorted(root.parent.parent.rglob("*"))
    table = read_answers(write_answers(speaker, root, tmp_path / "v.jsonl", conf=0.3, **QUICK))
    assert table.images == [f"val/{i}.png" for i in range(4)] and sorted(root.parent.parent.rglob("*")) == before


def boxes(*rows):
    """Return objects of one class from rows of image, x, and score."""
    image, x, score = (torch.tensor(v) for v in zip(*rows))
    where = torch.stack([x, *[torch.full_like(x, v) for v in (0.5, 0.2, 0.2)]], 1)
    return Boxes(image, where, torch.zeros(len(rows), dtype=torch.long), score[:, None])


def test_a_box_that_few_views_see_is_less_sure():
    """Boxes of one object become one with the mean score; one that a single view of two sees has half of its score."""
    first, second = boxes((0, 0.3, 0.8), (1, 0.7, 0.6)), boxes((0, 0.31, 0.6))
    found = merge_views([first, second], 2, conf=0.05)
    assert found.image.tolist() == [0, 1]
    torch.testing.assert_close(found.boxes[:, 0], torch.tensor([0.3, 0.7]))
    torch.testing.assert_close(found.scores[:, 0], torch.tensor([0.7, 0.3]))
    assert len(merge_views([first, second], 2, conf=0.5)) == 1
    assert merge_views([first], 2, conf=0.5) is first


@pytest.mark.parametrize(
    "line, says",
    [
        (["model_t=best.pt"], "'data' is missing"),
        (["data=a.yaml"], "'model_t' is missing"),
        (["data=a.yaml", "model_t=a.pt", "epochs=3"], "'epochs' is no argument of answers; it takes model_t"),
        (["data=a.yaml", "model_t=no.pt"], "'model_t=no.pt' does not exist"),
        (["data={data}", "model_t={best}", "split=test"], "'split=test' is not in"),
        (["data={data}", "model_t={best}", "save=a.json"], "'save=a.json' must end in .jsonl"),
        (["data={data}", "model_t=a.jsonl"], "'model_t=a.jsonl' is a file of answers already"),
        (["data=no.yaml", "model_t={best}"], "'data=no.yaml' does not exist"),
        (["data=nowhere", "model_t={best}"], "'data=nowhere' leads to no image"),
        (["data={data}", "model_t={best}", "imgsz=0"], "'imgsz=0' must be a whole number of at least 32"),
        (["data={data}", "model_t={best}", "imgsz=[64,x]"], "'imgsz=x' must be a whole number"),
        (["data={data}", "model_t={best}", "conf=2"], "'conf=2' must be a finite number of at least 0 and at most 1"),
        (["data={data}", "model_t={best}", "batch=0.5"], "'batch=0.5' must be a whole number of at least 1"),
        (["data={data}", "model_t={best}", "flip=yes"], "'flip=yes' is unknown; choose from False, True"),
        (["data={data}", "model_t={best}", "workers=-1"], "'workers=-1' must be a whole number of at least 0"),
        (["data={data}", "model_t=ema"], "'model_t=ema' names no boxes"),
    ],
)
def test_a_bad_line_is_one_sentence(line, says, speaker, data_yaml, tmp_path, monkeypatch, capsys):
    """The command ends with one sentence."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        answer([x.format(data=data_yaml, best=speaker) for x in line])
    said = capsys.readouterr()
    assert says in said.err and said.err.count("\n") == 1 and end.value.code == 2 and not list(tmp_path.iterdir())


def test_the_command_writes(speaker, data_yaml, tmp_path, log):
    """A whole line works, and says how to train with what it wrote."""
    path = tmp_path / "a.jsonl"
    quick = [f"{k}={v}" for k, v in QUICK.items()]
    answer([f"model_t={speaker}", f"data={data_yaml}", "split=val", f"save={path}", *quick])
    assert len(read_answers(path).images) == 4 and any(f"train with model_t={path}" in x for x in log())
