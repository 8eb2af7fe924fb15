# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Freezing and speeding up the teacher."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from live_teacher import make_teacher, snapshot, unchanged
from torch import nn

from ultralytics.distill.graph import head_inputs, run_layers
from ultralytics.distill.heads.predictions import branches
from ultralytics.distill.teacher.speed import fuse
from ultralytics.distill.upstream import LINE, load_checkpoint

SHARED = Path(__file__).resolve().parents[4] / "shared/data"
FAMILIES = ("yolov8n.yaml", "yolov10n.yaml", "yolo11n.yaml", "yolo12n.yaml", "yolo26n.yaml", "yolo26n-seg.yaml",
            "yolov8n-cls.yaml", "yolov8n-rtdetr.yaml")  # fmt: skip


def relative_error(x, reference):
    """Return the norm of the difference over the norm of the reference."""
    return ((x.float() - reference).norm() / reference.norm()).item()


@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 1e-3)])
@pytest.mark.parametrize("name", FAMILIES)
def test_fast_teacher_agrees(name, dtype, limit, make_model):
    """Fused, channels-last and in 16 bits, maps and raw predictions of every branch are those of the plain model."""
    model, x = make_model(name, width=None if "12" in name else 0.125, trained=True).eval(), torch.rand(2, 3, 64, 64)
    head = "rtdetr" not in name  # its predictions are drawn, and not compared
    fast = make_teacher(model, head=head, dtype=dtype)(x)
    model.model[-1].training = True
    with torch.no_grad():
        plain = run_layers(model, x, head_inputs(model), head)
    for i, reference in plain.maps.items():
        assert fast.maps[i].dtype == dtype and relative_error(fast.maps[i], reference) < limit
    found, expected = branches(fast.output, [8, 16, 32]), branches(plain.output, [8, 16, 32])
    dual = any(x in name for x in ("v10", "26"))
    assert list(found) == (["one2many", "one2one"] if dual else ["one2many"]) * head
    for branch, values in expected.items():
        for key in {"scores", "boxes", "mask_coefficient"} & values.keys():
            assert relative_error(found[branch][key], values[key]) < limit


def relative_errors(model, x, dtype):
    """Return the relative error of each map and raw prediction that a teacher shows, against the plain fp32 model."""
    head = "RTDETR" not in type(model).__name__
    fast = make_teacher(model, head=head, dtype=dtype)(x)
    model.eval().model[-1].training = True
    with torch.no_grad():
        plain = run_layers(model, x, head_inputs(model), head)
    found = {f"layer {i}": relative_error(fast.maps[i], reference) for i, reference in plain.maps.items()}
    outputs, expected = branches(fast.output, [8, 16, 32]), branches(plain.output, [8, 16, 32])
    for branch, values in expected.items():
        found.update({f"{branch} {k}": relative_error(outputs[branch][k], values[k]) for k in ("scores", "boxes")})
    return found


@pytest.mark.parametrize(
    "name", ["yolov8n.yaml", "yolo11n.yaml", "yolo12n.yaml", "yolo26n.yaml", "yolov8n-rtdetr.yaml"]
)
def test_agrees_after_a_short_training(name, make_model, make_batch):
    """With weights and statistics that a short training has moved, 16 bits stay within 1e-2 of the fp32 teacher."""
    model = make_model(name, width=None if "12" in name else 0.125).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(8):
        model(make_batch(n=4, seed=step % 2))[0].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    model.criterion = None
    errors = relative_errors(model, make_batch(seed=5)["img"], torch.bfloat16)
    assert len(errors) >= 3 and max(errors.values()) < 1e-2, errors


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} with the official weights and real images is not here")
def test_agrees_with_official_weights():
    """A long training makes a map of few large and many small values: bfloat16 is 1 to 3 percent off, fp16 far less."""
    files = sorted((SHARED / "coco128").rglob("*.jpg"))[:4]
    images = [cv2.resize(cv2.imread(str(f))[..., ::-1], (320, 320)) for f in files]
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    for dtype, limit in ((torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 5e-3)):
        errors = relative_errors(load_checkpoint(SHARED / "weights/yolov8n.pt")[0], x, dtype)
        assert len(errors) == 5 and max(errors.values()) < limit, errors


def test_it_is_fast(make_model):
    """Convolutions hold their BatchNorms, weights lie channels-last, and without the head the graph is cut."""
    teacher = make_teacher(make_model("yolo26n.yaml", trained=True), [13, 16], head=False)
    assert not [m for m in teacher.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert teacher.model.model[1].conv.weight.is_contiguous(memory_format=torch.channels_last)
    ran = []
    for m in teacher.model.model:
        m.register_forward_hook(lambda m, *_: ran.append(m.i))
    seen = teacher(torch.rand(1, 3, 64, 64))
    assert ran == list(range(17)) and list(seen.maps) == [13, 16] and seen.output is None


@pytest.mark.parametrize("name", ["yolov10n.yaml", "yolo26n.yaml", "yolo26n-seg.yaml", "yolo26n-pose.yaml"])
def test_fusing_keeps_both_branches(name, make_model):
    """An end-to-end head keeps both branches, and upstream's own way of fusing it is back afterwards."""
    model = make_model(name, trained=True).eval()
    fuse(model)
    head = model.model[-1]
    assert head.cv2 is not None and head.one2one_cv2 is not None and head.one2one_cv3 is not None
    assert not [m for m in head.cv2.modules() if isinstance(m, nn.BatchNorm2d)]
    if LINE == "8.4":  # heads of 8.3 have no way of their own
        head.fuse()
        assert (head.cv2 is None) != (head.one2one_cv2 is None)


def test_frozen_for_good(make_model):
    """No parameter asks for a gradient, no output has one, and no call changes a number or a mode in it."""
    teacher, x = make_teacher(make_model("yolov8n-rtdetr.yaml", trained=True), head=False), torch.rand(2, 3, 64, 64)
    first = teacher(x.requires_grad_())
    before = snapshot(teacher.model)  # the first call lays weights out
    for _ in range(3):
        teacher(torch.rand(2, 3, 64, 64))
    again = teacher(x)
    assert unchanged(teacher.model, before) and not any(before[2])
    assert any(isinstance(m, nn.BatchNorm2d) for m in teacher.model.modules())  # some are in no fusible block
    shared = nn.SiLU, nn.ReLU, nn.GELU  # one for all models in 8.3; they have no state
    own = [m for m in teacher.model.modules() if m is not teacher.model.model[-1] and not isinstance(m, shared)]
    assert not any(m.training for m in own)
    assert all(torch.equal(first.maps[i], again.maps[i]) and not first.maps[i].requires_grad for i in first.maps)


def test_frozen_under_autocast_and_grad(make_model):
    """The caller's autocast and grad mode do not reach the teacher."""
    teacher, x = make_teacher(make_model(trained=True)), torch.rand(1, 3, 64, 64)
    plain = teacher(x)
    with torch.autocast("cpu", torch.bfloat16), torch.enable_grad():
        seen = teacher(x)
    assert torch.equal(seen.maps[15], plain.maps[15]) and not seen.output["scores"].requires_grad


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo26n.yaml", "yolov8n-cls.yaml"])
def test_users_model_stays_as_it_is(name, make_model):
    """A live module is copied: not fused, not frozen, not cast, in its mode, its numbers bit-identical."""
    model = make_model(name, trained=True).train()
    model.model[3].eval()
    model.model[4].requires_grad_(False)
    model.criterion = criterion = model.init_criterion()
    before = snapshot(model)
    make_teacher(model, dtype=torch.bfloat16)(torch.rand(1, 3, 64, 64))
    assert unchanged(model, before) and model.criterion is criterion
    model(torch.rand(2, 3, 64, 64))  # and it still trains


def test_no_registry_sees_it(make_model):
    """A module that holds the teacher does not register it, and a deepcopy shares it."""
    holder = nn.Module()
    holder.teacher = make_teacher(make_model(trained=True))
    assert not holder.state_dict() and not list(holder.parameters()) and len(list(holder.modules())) == 1
    assert copy.deepcopy(holder).teacher is holder.teacher
