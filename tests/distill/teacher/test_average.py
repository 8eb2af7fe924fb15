# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The student's own running average as the teacher; `terms/test_several.py` trains with it."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from live_teacher import snapshot, unchanged

from ultralytics.distill.teacher.average import AverageTeacher
from ultralytics.distill.teacher.preprocessing import Preprocessing


def test_auto_batch_leaves_the_student_alone(make_model):
    """Before there is an average the student stands in, and a look leaves its statistics, modes and generator alone."""
    student, images = make_model(trained=True).train(), torch.rand(2, 3, 64, 64)
    before, random = snapshot(student), torch.random.get_rng_state()
    teacher = AverageTeacher(SimpleNamespace(ema=None, model=student), [15], True, False, Preprocessing(3, 3))
    seen = teacher(images)
    assert unchanged(student, before) and torch.equal(random, torch.random.get_rng_state())
    assert seen.output["scores"].shape[:2] == (2, 3) and not seen.maps[15].requires_grad
