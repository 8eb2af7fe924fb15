# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Every term with rectangular images, and with a teacher that sees them in another size."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from live_teacher import CPU, make_teacher
from short_run import options, rows

from ultralytics import YOLO
from ultralytics.distill.arguments import read
from ultralytics.distill.config import KINDS
from ultralytics.distill.graph import capture
from ultralytics.distill.losses import FEATURE, RELATION, RESPONSE
from ultralytics.distill.teacher.preprocessing import build_preprocessing
from ultralytics.distill.upstream import LINE

TERMS = [(kind, name) for kind, names in zip(KINDS, (FEATURE, RESPONSE, RELATION)) for name in names]
MODEL = {"kl": "yolov8n-cls", "dist": "yolov8n-cls", "mask": "yolov8n-seg", "pose": "yolov8n-pose",
         "probiou": "yolov8n-obb", "cwdmap": "yolo26n-sem", "depth": "yolo26n-depth"}  # fmt: skip


@pytest.fixture(scope="module")
def models(make_model):
    """A student and a wider teacher of a YAML, made once."""
    made = {}

    def pick(name):
        """Return the two."""
        if name not in made:
            made[name] = [make_model(f"{name}.yaml", width=w, seed=int(8 * w), trained=True) for w in (0.125, 0.25)]
        return made[name]

    return pick


@pytest.mark.parametrize("kind, name", TERMS)
def test_every_term(kind, name, models, make_distiller, make_args, make_batch):
    """On images of 96x64, seen by the teacher in 64x96, a term is finite and teaches the student.

    One that compares raw outputs in cells refuses a teacher's own size, and does so with the images as they are.
    """
    student, teacher = models(MODEL.get(name, "yolov8n"))
    overrides = {KINDS[kind].argument: name, "distill_imgsz": [64, 96]}
    if getattr({**FEATURE, **RESPONSE, **RELATION}[name], "same_grid", False):
        with pytest.raises(
            ValueError, match=f"{KINDS[kind].argument}={name}': it compares raw outputs in cells.*distill_imgsz="
        ):
            make_distiller(student, teacher, **overrides)
        del overrides["distill_imgsz"]
    distiller, batch = make_distiller(student, teacher, **overrides), make_batch(n=3)
    batch["img"] = torch.rand(3, 3, 96, 64)
    frozen = make_teacher(teacher, distiller.layers[1], distiller.needs_head, distiller.needs_features)
    frozen.preprocess = build_preprocessing(read(make_args(**overrides)), student, teacher, CPU)
    learner = deepcopy(student).train()
    with capture(learner, distiller.layers[0], distiller.needs_features) as seen:
        learner(batch["img"])
    _, parts = distiller(seen, frozen(batch["img"]), batch, {})
    sum(parts).backward()
    assert all(torch.isfinite(p) for p in parts) and any(p != 0 for p in parts)
    assert learner.model[0].conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("more", [{"rect": True}, {"multi_scale": 0.5 if LINE == "8.4" else True}, {"imgsz": [32, 64]}])
def test_training_sizes(more, data_yaml, teacher_pt, student_yaml, tmp_path):
    """Upstream's ways of varying the image size train with feature, response and relation terms."""
    terms = {"distill_feat": ["cwd", "fgd", "sl2"], "distill_rel": "sp"}
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), **terms, **more))
    row = rows(tmp_path)[0]
    assert all(row[f"train/{c}_loss"] > 0 for c in ("dfea", "dlogit", "drel"))
