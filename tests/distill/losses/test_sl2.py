# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Ultralytics' score-weighted L2."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ultralytics.distill.losses import SL2
from ultralytics.nn.tasks import DetectionModel


def test_by_hand():
    """One channel, P changes nothing: S = (1, 2), T = (0, 0), best scores 0.75 and 0.25.

    L = (0.75 * 1 + 0.25 * 4) / (1 * (0.75 + 0.25)) = 1.75.
    """
    loss = SL2(channels_s=1, channels_t=1)
    for conv in (loss.projector[0], loss.projector[2]):
        nn.init.ones_(conv.weight)
        nn.init.zeros_(conv.bias)
    q = torch.tensor([[[[0.75, 0.25]], [[0.1, 0.2]]]])  # (N, nc, H, W), the second class never best
    value = loss(torch.tensor([1.0, 2.0]).view(1, 1, 1, 2), torch.zeros(1, 1, 1, 2), {"teacher_scores": q.logit()})
    assert value.item() == pytest.approx(1.75)


def test_no_score_at_all():
    """Where the teacher is sure of nothing, in every bit of float32, the term is zero and not 0 / 0."""
    loss = SL2(channels_s=2, channels_t=3)
    value = loss(torch.randn(1, 2, 2, 2), torch.randn(1, 3, 2, 2), {"teacher_scores": torch.full((1, 1, 2, 2), -200.0)})
    assert value.item() == 0


def test_distillation_model():
    """With the weights of upstream's projector it is upstream's term, on the features upstream taps."""
    upstream = pytest.importorskip("ultralytics.nn.distill_model", reason="Ultralytics 8.3 has no distill_model=")
    torch.manual_seed(0)
    student, teacher = (DetectionModel(f"yolov8{size}.yaml", nc=3, verbose=False) for size in "ns")
    student.args = SimpleNamespace(imgsz=64, dis=6.0)
    theirs = upstream.DistillationModel(teacher, student)
    with torch.no_grad():
        images = torch.rand(2, 3, 64, 64)
        theirs.teacher_model(images)
        theirs.student_model(images)
    scores = theirs.decouple_outputs(theirs._teacher_feats[3])["scores"]
    at = 0
    for i in range(3):
        s, t = theirs._student_feats[i], theirs._teacher_feats[i]
        level = scores[..., at : (at := at + t[0, 0].numel())]
        best = {i: level.sigmoid().max(1, keepdim=True).values}
        ours = SL2(channels_s=s.shape[1], channels_t=t.shape[1])
        ours.projector.load_state_dict(theirs.projector[i].state_dict())
        with torch.no_grad():
            expected = theirs.loss_sl2(theirs.projector[i](s), t, i, best)
        value = ours(s, t, {"teacher_scores": level.view(2, 3, *t.shape[2:])})
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
