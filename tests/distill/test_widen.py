# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A model is made twice as wide and says the same."""

from __future__ import annotations

import pytest
import torch
from small_models import build_model, save_model
from torch.utils._pytree import tree_leaves

import widen
from ultralytics import YOLO
from ultralytics.nn.modules.block import Attention


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_the_wide_model_says_the_same(name):
    """Boxes and scores are equal to 1e-4, with attention that looks at something and BatchNorm that moved."""
    model = build_model(name, trained=True).eval()
    for m in model.modules():
        if isinstance(m, Attention):
            m.qkv.bn.weight.data *= 6
    wide = widen.widen(model)
    image = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        a, b = (m(image)[0] for m in (model, wide))
    torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4)
    assert wide.model[0].conv.out_channels == 2 * model.model[0].conv.out_channels
    assert wide.model[-1].nc == model.model[-1].nc and wide.names == model.names


def test_copies_learn_apart():
    """What reads two copies of a channel weighs them differently, so their gradients differ and so will they."""
    wide = widen.widen(build_model(trained=True)).train()
    sum(x.square().sum() for x in tree_leaves(wide(torch.rand(2, 3, 64, 64)))).backward()
    grad = wide.model[0].conv.weight.grad
    assert (grad[::2] - grad[1::2]).abs().sum() > 0.01 * grad.abs().sum()


def test_a_checkpoint_goes_in_and_one_comes_out(tmp_path, capsys):
    """The file is one that upstream trains on: its YAML builds the same layers. What cannot be is refused."""
    given = save_model(build_model(trained=True), tmp_path / "n.pt")
    widen.main([str(given), str(tmp_path / "wide.pt")])
    assert "wide.pt: " in capsys.readouterr().out
    found = YOLO(tmp_path / "wide.pt").model
    type(found)(found.yaml, nc=3, verbose=False).load_state_dict(found.state_dict())
    model = build_model()
    model.model[1].conv = torch.nn.Conv2d(8, 16, 3, 2, 1)  # with a bias, which the YAML does not have
    with pytest.raises(ValueError, match="cannot be widened|would say something else"):
        widen.widen(model)
