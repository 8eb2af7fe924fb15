# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Every model YAML that upstream ships: replay is its forward, bit for bit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from test_graph import equal

import ultralytics
from ultralytics import RTDETR, YOLO
from ultralytics.distill.graph import capture, run_layers
from ultralytics.distill.upstream import LINE, load_yaml

FOLDER = Path(ultralytics.__file__).parent / "cfg/models"
FILES = sorted(FOLDER.rglob("*.yaml"))
QUICK = (  # one of each kind of head and of each kind of forward; test_graph.py has the common ones
    "yolov3-tiny yolov8-worldv2 yolov8-ghost-p2 yoloe-11-seg yolo11-obb yolo26-sem yolo26-depth yolov8-cls-resnet50"
).split()


def marks(path: Path) -> list[pytest.MarkDecorator]:
    """Return what keeps a model out of the default run, or out of any."""
    if "TorchVision" in path.read_text(encoding="utf-8"):
        return [pytest.mark.skip("its backbone's weights are downloaded")]
    return [] if path.stem in QUICK else [pytest.mark.slow]


def build(path: Path) -> torch.nn.Module:
    """Build a model as upstream does, at its smallest scale where it has any, with statistics far from fresh."""
    name = path.name
    if load_yaml(path).get("scales") and path.parent.name != "rt-detr":
        name = re.sub(r"^(yoloe-v?\d+|yolov?\d+)(?=[-.])", r"\1n", name)
    torch.manual_seed(0)
    model = (RTDETR if "rtdetr" in name else YOLO)(name).model.eval()
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(std=0.1)
            m.running_var.uniform_(0.7, 1.3)
    return model


@pytest.mark.parametrize("path", [pytest.param(p, id=p.stem, marks=marks(p)) for p in FILES])
def test_replay(path):
    """Every layer's map, the head's inputs and its output, decoded and raw; and the maps again without the head.

    One kind of layer has no map: YOLO-World's pooling changes its texts and hands the image's maps on.
    """
    model = build(path)
    size = 160 if "rtdetr" in path.stem else 64  # its decoder picks 300 places
    images, layers = torch.rand(2, 3, size, size), range(len(model.model) - 1)
    for raw in (False, True):
        model.model[-1].training = raw  # the head alone, as a teacher's
        with torch.no_grad(), capture(model, layers) as seen:
            output = model(images)
        with torch.no_grad():
            again = run_layers(model, images, layers, head=True)
            alone = run_layers(model, images, layers, head=False)
        maps = {i: x for i, x in seen.maps.items() if getattr(x, "ndim", 0) != 3}  # YOLOv9-E has lists of maps too
        assert list(again.maps) == list(alone.maps) == list(layers) and len(maps) >= len(layers) - 2
        assert all(equal(x, again.maps[i]) and equal(x, alone.maps[i]) for i, x in maps.items())
        assert seen.inputs and equal(seen.inputs, again.inputs)
        assert equal(seen.output, again.output)
        assert LINE == "8.3" or equal(output, again.output)  # 8.3's raw output is seen in 8.4's form
        assert alone.output is None


def test_the_walk_is_whole():
    """Some of the quick ones exist in every upstream line, and every folder of upstream's models is walked."""
    assert len({*QUICK} & {p.stem for p in FILES}) >= 5 and len(FILES) > 30
    assert {p.parent.name for p in FILES} == {p.name for p in FOLDER.iterdir() if p.is_dir()}
