# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Files of answers for the tiny detection set, and training sets that carry them."""

import json
from pathlib import Path

import pytest
from task_sets import draw_set

from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.distill.answers.file import footer, header, line

NAMES = {0: "circle", 1: "square", 2: "stripe"}


def labels_of(data_yaml, split="train"):
    """Return for each image of a set its name below the set's folder and its labels as rows of numbers."""
    root = Path(data_yaml).parent
    files = sorted((root / "labels" / split).glob("*.txt"))
    rows = [[[float(v) for v in x.split()] for x in f.read_text().splitlines()] for f in files]
    return [(f"images/{split}/{f.stem}.png", r) for f, r in zip(files, rows)]


@pytest.fixture(scope="session")
def write_answers(data_yaml):
    """`write_answers(path, score=0.9, names=NAMES)` writes the labels as answers, each with one score, and the path."""

    def write(path, score=0.9, names=NAMES, size=64, end=True, keep=slice(None)):
        found = labels_of(data_yaml)[keep]
        text = header(names, teachers=[{"file": "best.pt"}])
        for image, rows in found:
            classes = [[int(r[0])] for r in rows]
            text += line(image, (size, size), [r[1:] for r in rows], classes, [[score]] * len(rows))
        path.write_text(text + footer(len(found)) * end)
        return path

    return write


@pytest.fixture(scope="session")
def write_coco(data_yaml):
    """`write_coco(path, shift=1, whole=False)` writes the same in COCO's format, as a list or as a data set."""

    def write(path, shift=1, whole=False, change=None):
        results, images = [], []
        for i, (image, rows) in enumerate(labels_of(data_yaml)):
            images.append({"id": i, "file_name": Path(image).name, "height": 64, "width": 64})
            for c, x, y, w, h in rows:
                box = [64 * v for v in (x - w / 2, y - h / 2, w, h)]
                where = i if whole else int(Path(image).stem)
                results.append({"image_id": where, "category_id": int(c) + shift, "bbox": box, "score": 0.9})
        categories = [{"id": k + shift, "name": v} for k, v in NAMES.items()]
        value = {"images": images, "categories": categories, "annotations": results} if whole else results
        path.write_text(json.dumps(change(value) if change else value))
        return path

    return write


@pytest.fixture(scope="session")
def draw(tmp_path_factory):
    """`draw(task)`: the YAML of a drawn set of eight training images, made once."""
    made = {}

    def make(task):
        if task not in made:
            made[task] = draw_set(task, tmp_path_factory.mktemp(task))
        return made[task]

    return make


@pytest.fixture(scope="session")
def make_dataset(data_yaml):
    """`make_dataset(mosaic=0, ...)`: upstream's training set of the tiny data, with augmentations by argument."""

    def make(path=data_yaml, task="detect", **overrides):
        quiet = dict.fromkeys(("mosaic", "mixup", "cutmix", "copy_paste", "fliplr", "hsv_h", "hsv_s", "hsv_v"), 0.0)
        quiet = {**quiet, "translate": 0.0, "scale": 0.0, "imgsz": 64, "task": task}
        known = get_cfg()
        args = get_cfg(overrides={k: v for k, v in {**quiet, **overrides}.items() if hasattr(known, k)})
        data = check_det_dataset(str(path))
        return build_yolo_dataset(args, data["train"], 4, data, mode="train", stride=32)

    return make
