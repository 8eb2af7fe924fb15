"""Files of answers that say what a drawn set's labels say, and samples of a set by their seed."""

import json
import random
from pathlib import Path

import numpy as np
import torch

from ultralytics.distill.answers.file import footer, header, line

NAMES = {0: "red", 1: "green", 2: "blue"}
TASKS = {"segment": {"task": "segment"}, "obb": {"task": "obb"}, "pose": {"task": "pose", "kpt_shape": [3, 3]}}


def sample(dataset, index, seed):
    """Return one sample as its random draws decide."""
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
    return dataset[index]


def write_labels_as_answers(data, task, path, also=None, falling=False, names=NAMES):
    """Write the labels of a drawn set's training images as answers of a task, `also` with a polygon more an image."""
    root, text, count = Path(data).parent, header(names, **TASKS.get(task, {})), 0
    for f in sorted((root / "labels/train").glob("*.txt")):
        rows = [[float(v) for v in x.split()] for x in f.read_text().splitlines()]
        rows += [[0, *also]] if also else []
        boxes, more = [], []
        for _, *v in rows:
            if task == "pose" or len(v) == 4:
                boxes.append(v[:4])
                more.append([min(x, 1.0) if i % 3 == 2 else x for i, x in enumerate(v[4:])])
                continue
            low, high = ([f(v[::2]), f(v[1::2])] for f in (min, max))
            boxes.append([*((a + b) / 2 for a, b in zip(low, high)), *(b - a for a, b in zip(low, high))])
            more.append(v)
        scores = [[0.9 - 0.5 * (falling and i % 2)] for i in range(len(rows))]
        told = {"keypoints": more} if task == "pose" else {"segments": more} if task in TASKS else {}
        text += line(f"images/train/{f.stem}.png", (64, 64), boxes, [[int(r[0])] for r in rows], scores, **told)
        count += 1
    path.write_text(text + footer(count))
    return path


def write_labels_as_results(data, task, path):
    """Write the same as COCO's list of results, in pixels, with outlines or keypoints as upstream writes them."""
    own, found = path.with_suffix(".own.jsonl"), []
    for text in write_labels_as_answers(data, task, own).read_text().splitlines()[1:-1]:
        item = json.loads(text)
        for i, (x, y, w, h) in enumerate(item["boxes"]):
            row = {"image_id": int(Path(item["image"]).stem), "category_id": item["classes"][i][0], "score": 0.9}
            if task == "pose":
                row["keypoints"] = [v * (1 if j % 3 == 2 else 64) for j, v in enumerate(item["keypoints"][i])]
            else:
                points = [64 * v for v in item["segments"][i]]
                row |= {"poly": points} if task == "obb" else {"segmentation": [points]}
            if task != "obb":
                row["bbox"] = [64 * (x - w / 2), 64 * (y - h / 2), 64 * w, 64 * h]
            found.append(row)
    path.write_text(json.dumps(found))
    return path
