# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Packed convolutions compute what the plain ones do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ultralytics.distill.graph import head_inputs, run_layers
from ultralytics.distill.teacher import onednn
from ultralytics.distill.teacher.onednn import supported, use_onednn
from ultralytics.distill.teacher.speed import fuse
from ultralytics.nn.modules.conv import Conv

needs_onednn = pytest.mark.skipif(not supported(torch.float32), reason="this torch has no oneDNN convolutions")


@pytest.fixture
def fused(make_model):
    """`fused("yolov8n.yaml")`: a frozen model without BatchNorms, its head in train mode."""

    def make(name):
        model = make_model(name, width=None if "v9" in name else 0.125, trained=True).eval()
        fuse(model)
        model.model[-1].training = True
        return model.to(memory_format=torch.channels_last).requires_grad_(False)

    return make


@needs_onednn
@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml", "yolov9t.yaml"])
def test_agrees(name, fused):
    """Every map and raw prediction, at the first size and at others, depthwise and dilated convolutions included."""
    plain = fused(name)
    quick = copy.deepcopy(plain)
    assert use_onednn(quick) > 20
    for n, size in ((2, 64), (1, 96), (3, 64)):
        x = torch.rand(n, 3, size, size).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            a, b = (run_layers(m, x, head_inputs(m), head=True) for m in (plain, quick))
        for i in a.maps:
            torch.testing.assert_close(b.maps[i], a.maps[i], atol=1e-4, rtol=1e-4)
        scores = [y.get("one2many", y)["scores"] for y in (a.output, b.output)]
        torch.testing.assert_close(*scores, atol=1e-4, rtol=1e-4)


@needs_onednn
def test_other_blocks_stay(fused):
    """A block with its BatchNorm, with an unknown activation or with another padding keeps its own forward."""
    model = fused("yolov8n.yaml")
    model.model[0].act = nn.Hardswish()
    model.model[1].conv.padding_mode = "reflect"
    model.model[2].cv1.bn = nn.BatchNorm2d(model.model[2].cv1.conv.out_channels)
    use_onednn(model)
    blocks = [m for m in model.modules() if isinstance(m, Conv) and not isinstance(m.forward, onednn.OneDNNConv)]
    assert blocks == [model.model[0], model.model[1], model.model[2].cv1]


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, NotImplementedError])
def test_a_torch_without_the_operators(error, fused, monkeypatch):
    """Nothing is packed, and nothing is said."""

    def fail(self, x):
        raise error("no such operator")

    monkeypatch.setattr(onednn.OneDNNConv, "__call__", fail)
    model = fused("yolov8n.yaml")
    assert use_onednn(model) == 0 and not [m for m in model.modules() if isinstance(m.forward, onednn.OneDNNConv)]


def test_the_trial_draws_no_random_number():
    """A run with the same seed stays the same run."""
    state = torch.get_rng_state()
    supported(torch.bfloat16)
    assert torch.equal(state, torch.get_rng_state())
