# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Trains a small model with a large one as its teacher. Read it, edit its top, run it.

    python distill.py                                                   the demo: it draws its own data
    python distill.py data=my.yaml model_t=best.pt model=yolo26n.pt     your own data and models
    python distill.py cfg=my.yaml epochs=50                             arguments from a file; the line wins
    python distill.py resume=runs/distill/train/distilled/weights/last.pt    go on after an interruption
    python distill.py answers model_t=best.pt data=my.yaml              write answers, for model_t=answers.jsonl
    python distill.py help                                              every argument

Results go to project/name: a folder for each trained model, and the comparison's table and pictures.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

ARGS = {
    "model_t": None,  # teacher: a trained model (.pt), best one trained on this data; None trains one first
    "teacher_model": "yolo26s.pt",  # what is trained then, on the same data; `teacher_x` is argument x of that training
    "model": "yolo26n.pt",  # student: a .pt is fine-tuned, a .yaml starts from random weights
    "data": None,  # your data.yaml; None is the demo, and then DEMO below replaces what stands here
    "compare": None,  # train the student without teacher too, for the table: True, False, or None: in the demo only
    "imgsz": 640,  # image size in pixels
    "epochs": 100,  # passes over the training images
    "batch": 16,  # images a step
    "seed": 0,  # students of one seed start from the same weights and see the same images in the same order
    "device": None,  # cpu, 0, or [0, 1]; None takes a GPU if there is one
    "project": "runs/distill",  # folder of the results
    "name": "train",  # folder of this run in it; a number is added if it exists
    # Any other argument of Ultralytics or of the distillation may stand here: docs/arguments.md lists the latter.
}

DEMO = {  # small enough for minutes on two CPU cores
    "teacher_model": "runs/demo/teacher.yaml",  # YOLOv8 at width 0.25
    "teacher_epochs": 10,
    "model": "runs/demo/student.yaml",  # YOLOv8 at width 0.125
    "imgsz": 128,
    "epochs": 8,
    "batch": 8,
    "nbs": 8,  # an optimizer step for every batch: the run is short
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 1,
    "mosaic": 0,  # pays off in longer runs only
    "scale": 0.3,
    "flipud": 0.5,
    "name": "demo",
}


def main(line: list[str]) -> None:
    """Train what is asked for and compare it.

    Args:
        line (list[str]): The command line's `key=value` arguments.
    """
    spec = importlib.util.find_spec("ultralytics")  # a stock one is found if the fork is neither unpacked nor installed
    if not (spec and spec.origin and (Path(spec.origin).parent / "distill" / "__init__.py").is_file()):
        sys.exit(f"This needs Ultralytics with our patches. Install it first: pip install -e {Path(__file__).parent}")
    threads = os.getenv("OMP_NUM_THREADS")  # before the import, which sets it
    from ultralytics import YOLO
    from ultralytics.distill.report import comparison
    from ultralytics.distill.runtime.open_model import open_model
    from ultralytics.distill.script import command
    from ultralytics.utils import LOGGER, colorstr
    from ultralytics.utils.files import increment_path

    command.use_threads(threads)
    if {"help", "-h", "--help"} & set(line):
        print(command.usage(Path(__file__)))
        return
    if line[:1] == ["answers"]:
        return command.answer(line[1:])
    given = command.read_line(line)
    if last := given.pop("resume", None):  # an interrupted run brings its own arguments
        last = str(given.pop("model", None) if last is True else last)
        model, models = YOLO(last), {}
        with command.interruptible(model):
            model.train(resume=last, **given)
    else:
        drawn = {**ARGS, **given}["data"] is None
        args = {**ARGS, **(DEMO if drawn else {}), **given}
        teacher = {k[8:]: args.pop(k) for k in list(args) if k.startswith("teacher_")}
        compare = args.pop("compare")
        plain = command.without_teacher(args)
        command.check(args, {**plain, **teacher})
        if drawn:
            args["data"] = plain["data"] = draw_demo(args["imgsz"])
        folder = increment_path(Path(args["project"]).resolve() / args["name"])

        def train(name: str, given: dict[str, Any]) -> YOLO:
            run = {**given, "project": str(folder), "name": name}
            LOGGER.info(f"\n{colorstr('bold', f'Training: {name}')} ({run['model']}, {run['epochs']} epochs)")
            model = open_model(run["model"])
            with command.interruptible(model):
                model.train(**run)
            return model

        if args["model_t"] is None:
            args["model_t"] = str(command.best(train("teacher", {**plain, **teacher})))
        model = train("distilled", args)
        beside = compare or (compare is None and drawn)
        models = {"plain": command.best(train("plain", plain))} if beside else {}

    models.update(command.teachers(model), distilled=command.best(model))
    run = model.trainer
    comparison.compare(
        models, run.args.data, run.args.imgsz, run.save_dir.parent, run.args.device, run.args.distill_int8
    )


def draw_demo(imgsz: Any) -> str:
    """Draw the demo's data and write its models into `runs/demo`; return the path of the data's YAML."""
    scripts = Path(__file__).resolve().parent / "scripts"
    if not (scripts / "demo").is_dir():
        sys.exit(f"The demo draws its data with scripts/demo of a clone, which is not beside {__file__}; give 'data'.")
    sys.path.insert(0, str(scripts))
    from demo import prepare

    return prepare("runs/demo", imgsz)


if __name__ == "__main__":
    main(sys.argv[1:])
