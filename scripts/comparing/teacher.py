"""What a comparison asks of a teacher beside its lessons: accuracy on the same images, and labels of others."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from comparing.subsets import label_of, link, read
from ultralytics import YOLO
from ultralytics.distill.report.metrics import validate
from ultralytics.distill.runtime.checkpoints import write_whole
from ultralytics.distill.runtime.errors import reason
from ultralytics.distill.teacher.evaluation import narrow
from ultralytics.distill.upstream import load_checkpoint

CONFIDENCE = 0.5  # of a box that becomes a label


def look(job: dict[str, Any]) -> None:
    """Validate a teacher as the students are, its classes in their order; why it cannot be is a result too."""
    try:
        found = validate(job["teacher"], load_checkpoint(job["start"])[0], **job["val"])[0].results_dict
    except Exception as e:  # other classes, another kind of head, or a file of answers
        found = {"error": reason(e)}
    write_whole(Path(job["result"]), json.dumps(found).encode())


def label(job: dict[str, Any]) -> None:
    """Write a teacher's confident predictions as label files beside links to the images.

    An image without any has an empty label file, and is background.

    Raises:
        ValueError: If the teacher does not know all of the student's classes.
    """
    model, images = YOLO(job["teacher"]), Path(job["images"])
    narrow(model.model, load_checkpoint(job["start"])[0].names)
    links = []
    for line in read(Path(job["rest"])):
        place = images / Path(line).name
        for folder in (images, label_of(place).parent):
            folder.mkdir(parents=True, exist_ok=True)
        label_of(place).write_text("")
        links.append(str(link(Path(line).resolve(), place)))
    count = 0
    with tempfile.TemporaryDirectory() as scratch:
        quiet = {"stream": True, "verbose": False, "save": False, "project": scratch}
        for found in model.predict(links, conf=CONFIDENCE, **quiet, **job["predict"]):
            found.save_txt(label_of(Path(found.path)))
            count += len(found)
    write_whole(Path(job["result"]), json.dumps({"images": len(links), "objects": count}).encode())
