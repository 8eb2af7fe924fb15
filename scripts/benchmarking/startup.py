"""What a run waits for, and holds, before its first step where a file of answers is its teacher."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarking.measure import status
from ultralytics.distill.answers.extra import Extra
from ultralytics.distill.answers.file import footer, header, line
from ultralytics.distill.answers.join import join
from ultralytics.distill.answers.recorded import Recorded
from ultralytics.distill.heads.classes import Classes

BOXES, SCORES, CLASSES = 20, 3, 80  # of an image, of a box, of the data
SHAPE = 480, 640


def write_drawn(path: Path, images: int) -> None:
    """Write answers for so many images, each with boxes drawn at random."""
    rng = np.random.default_rng(0)
    with open(path, "w", encoding="utf-8") as f:
        f.write(header({i: f"class {i}" for i in range(CLASSES)}))
        for i in range(images):
            boxes = (0.2 + 0.6 * rng.random((BOXES, 4)) * [1, 1, 0.3, 0.3]).tolist()
            classes, scores = rng.integers(0, CLASSES, (BOXES, SCORES)).tolist(), rng.random((BOXES, SCORES)).tolist()
            f.write(line(f"images/train/{i:012d}.jpg", SHAPE, boxes, classes, scores))
        f.write(footer(images))


def time_startup(images: int) -> dict[str, Any]:
    """Return `seconds` and `gib` that drawn answers for so many images take at start, beyond the training set."""
    every = Classes(list(range(CLASSES)), list(range(CLASSES)))
    reader: Any = SimpleNamespace(classes=every, count=CLASSES, conf=0.1, extra=Extra())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.jsonl"
        write_drawn(path, images)
        labels = [{"shape": SHAPE, "segments": []} for _ in range(images)]
        dataset = SimpleNamespace(
            im_files=[f"/data/images/train/{i:012d}.jpg" for i in range(images)], labels=labels,
            data={"names": every.student}, transforms=SimpleNamespace(transforms=[None]),
        )  # fmt: skip
        before, began = status("VmRSS"), time.perf_counter()
        join(dataset, Recorded(path), [reader])
        return {"seconds": time.perf_counter() - began, "gib": (status("VmHWM") - before) / 1024}
