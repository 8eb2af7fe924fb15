# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Trying a model with a blank image: its channels, and a size that it takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from small_models import build_model, shrink
from torch import nn

from ultralytics.distill.graph import head_inputs, pair, probe
from ultralytics.distill.inference import PROBE, input_channels, run_dummy_input
from ultralytics.distill.upstream import load_checkpoint
from ultralytics.nn import tasks


class Wide(nn.Module):
    """A mean over 13x13 cells with a mirrored border, which needs 7x7 cells or more."""

    def forward(self, x):
        """Return the mean."""
        return F.avg_pool2d(F.pad(x, (6,) * 4, mode="reflect"), 13, 1)


class Grid(nn.Module):
    """A position embedding of one size."""

    def __init__(self, cells):
        """Make one value a cell."""
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, 1, cells, cells))

    def forward(self, x):
        """Add it."""
        return x + self.place


def with_layer(model, index, layer):
    """Put a layer behind another one of a model."""
    model.model[index] = nn.Sequential(model.model[index], layer)
    vars(model.model[index]).update(i=index, f=-1, type="", np=0)
    return model


def folded(name, channels):
    """Return a model whose stem folds 2x2 pixels into channels before its first convolution."""
    cfg = shrink(name, 0.125)
    cfg["backbone"] = [[-1, 1, "Focus", [64, 3]], *cfg["backbone"][1:]]
    kind = tasks.ClassificationModel if "cls" in name else tasks.DetectionModel
    return kind(cfg, ch=channels, nc=3, verbose=False)


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov8n-cls.yaml"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_stem_that_folds_pixels(name, channels, tmp_path):
    """The image's channels count, not the four times as many of the first convolution; from its file, too."""
    model = folded(name, channels)
    assert next(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)) == 4 * channels
    torch.save({"model": model}, tmp_path / "folded.pt")
    for m in (model, load_checkpoint(tmp_path / "folded.pt")[0]):
        assert input_channels(m) == channels and [v for _, v in probe(m, head_inputs(m)).values()][-1] == 32


def test_channels_that_were_written_down_otherwise():
    """Older versions call them `ch`; an exchanged first convolution, or no word at all, gives its own."""
    model = folded("yolov8n.yaml", 1)
    model.yaml = {"ch": 1}
    assert input_channels(model) == 1
    plain = build_model()
    plain.model[0].conv = nn.Conv2d(6, 8, 3, 2, 1, bias=False)
    assert plain.yaml.get("channels", plain.yaml.get("ch")) == 3 and input_channels(plain) == 6
    del plain.yaml
    assert input_channels(plain) == 6


def test_a_layer_that_needs_many_cells(make_model):
    """What upstream builds, at 256 pixels, can be probed; strides are those that upstream gave the head."""
    wide = with_layer(make_model(), 9, Wide())
    assert [v for _, v in probe(wide, head_inputs(wide)).values()] == wide.model[-1].stride.tolist()
    assert [p.strides for p in pair(make_model(), wide)] == [(8, 8), (16, 16), (32, 32)]


def test_a_model_of_one_size(make_model):
    """A model that takes no other size than the one it trains at is tried with that; where none is known it is said."""
    model = with_layer(make_model("yolov8n-cls.yaml"), 8, Grid(3))
    with pytest.raises(ValueError, match=rf"a ClassificationModel cannot be tried with .* of 3x{PROBE}x{PROBE} or "):
        probe(model, [8])
    for imgsz, size in ((96, (96, 96)), ([96, 96], (96, 96))):
        model.args = SimpleNamespace(imgsz=imgsz)
        assert run_dummy_input(model) == size and probe(model, [8])[8][1] == 32
    model.args = {"imgsz": 96}  # as a checkpoint has it
    assert run_dummy_input(model) == (96, 96)
    model.args = {}
    with pytest.raises(ValueError, match=rf"of 3x{PROBE}x{PROBE} .The size of tensor .*distill_feat=none"):
        run_dummy_input(model)
