# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Every family as student and as teacher, models with layers of their own, and heads of two branches."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from lines import listed, named
from short_run import columns, options, rows
from torch import nn

from matrices import pairs
from matrices.cell import run_all
from ultralytics import YOLO
from ultralytics.distill.graph import pair
from ultralytics.distill.teacher.speed import supports_dtype
from ultralytics.distill.upstream import save_yaml
from ultralytics.nn import tasks
from ultralytics.nn.modules import Concat

RING = ("yolov3-tiny", "yolov5n", "yolov6n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n",
        "yolov8n-rtdetr", "yolov3-tiny")  # fmt: skip
OWN_WIDTH = ("v9", "12")  # no width of ours fits them


class Weighted(Concat):
    """A BiFPN's fusion: the joined maps, each with a learnt weight (EfficientDet, arXiv 1911.09070, section 3.3)."""

    def __init__(self, dimension=1):
        """Make a weight for each of at most three maps."""
        super().__init__(dimension)
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        """Join the weighted maps."""
        w = self.weight[: len(x)].relu()
        return torch.cat([v * k for v, k in zip(x, w / (w.sum() + 1e-4))], self.d)


class Gate(nn.Module):
    """A layer of the user's own that keeps the width, as SimAM does; in float32, whatever it is given."""

    def forward(self, x):
        """Weigh each value by its channel's spread."""
        return x * (x.float() - x.float().mean((2, 3), keepdim=True)).square().sigmoid()


@pytest.fixture
def custom_yaml(student_yaml, tmp_path, monkeypatch):
    """A YOLOv8 with weighted fusions and a layer of its own in the neck, and other indices from there on."""
    cfg = deepcopy(tasks.yaml_model_load(student_yaml))
    monkeypatch.setattr(tasks, "Concat", Weighted)
    monkeypatch.setattr(tasks, "Gate", Gate, raising=False)
    head = cfg["head"]
    head.insert(3, [-1, 1, "Gate", []])  # after layer 12
    for row in head[4:]:
        row[0] = [x + (x > 12) for x in row[0]] if isinstance(row[0], list) else row[0] + (row[0] > 12)
    save_yaml(path := tmp_path / "bifpn.yaml", {k: v for k, v in cfg.items() if k != "yaml_file"})
    return path


def family(name, make_model, **more):
    """Build a small model of a family."""
    own = any(x in name for x in OWN_WIDTH)
    return make_model(f"{name}.yaml", width=None if own else 0.125, trained=True, **more)


@pytest.mark.parametrize("student, teacher", list(zip(RING, RING[1:])))
def test_each_family_learns_and_teaches(student, teacher, make_model, make_step, make_batch):
    """Once as student and once as teacher: maps are paired by stride, and the gradient reaches the first layer."""
    step = make_step(family(student, make_model), family(teacher, make_model, seed=1), distill_feat="cwd")
    loss, items = step(make_batch(size=64))
    loss.sum().backward()
    levels = "P4 P5" if "tiny" in student + teacher else "P3 P4 P5"
    assert sorted(step.distiller.parts) == [f"cwd/{p}" for p in levels.split()]
    assert named(step, items)["dfea_loss"] > 0 and torch.isfinite(loss).all()
    assert next(step.student.parameters()).grad.abs().sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize("student", pairs.FAMILIES)
def test_every_pair(student, tmp_path):
    """The table of docs/results/pairs.md: a short real run of every pair."""
    cells = run_all(pairs.setup, [(student, teacher) for teacher in pairs.FAMILIES], tmp_path)
    assert [c for c in cells if c.outcome != "works"] == []


@pytest.mark.slow
def test_other_sizes_and_levels(tmp_path):
    """The smallest with the largest, and heads of P2 to P6."""
    assert [c for c in run_all(pairs.setup, pairs.MORE, tmp_path) if c.outcome != "works"] == []


def test_detr_keeps_its_denoising(make_model, make_step, make_batch):
    """An RT-DETR student is given its denoising queries, and its own loss is that of a step without a teacher."""
    student, batch = make_model("yolov8n-rtdetr.yaml").train(), make_batch(n=2, size=64)
    step, alone = make_step(student, make_model(trained=True), distill_feat="cwd"), deepcopy(student)
    torch.manual_seed(1)  # the queries' noise
    _, plain = alone(batch)
    seen = []
    student.model[-1].register_forward_hook(lambda m, args, out: seen.append(out[4]))
    torch.manual_seed(1)
    _, items = step(batch)
    assert seen[0] is not None and seen[0]["dn_num_split"][0] > 0
    for found, expected in zip(listed(items), listed(plain)):
        torch.testing.assert_close(found, expected)


def test_custom_student(custom_yaml, data_yaml, teacher_pt, tmp_path):
    """A student with modules of its own learns from a plain teacher at unlike indices."""
    YOLO(custom_yaml).train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), distill_feat="cwd"))
    assert [c for c in columns(tmp_path) if c.startswith("distill/cwd")] == [f"distill/cwd/P{i}" for i in (3, 4, 5)]
    assert rows(tmp_path)[0]["train/dfea_loss"] > 0


def test_custom_teacher(custom_yaml, data_yaml, student_yaml, tmp_path, log):
    """A teacher with modules of its own teaches a plain student; one that makes float32 maps stays in float32."""
    teacher = YOLO(custom_yaml).model
    assert not supports_dtype(torch.bfloat16, teacher, torch.device("cpu")) and supports_dtype(
        torch.float32, teacher, "cpu"
    )
    assert [p.teacher for p in pair(YOLO(student_yaml).model, teacher)] == [16, 19, 22]
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, model_t=teacher))
    assert rows(tmp_path)[0]["train/dfea_loss"] > 0


@pytest.mark.parametrize(
    "student, teacher, branches",
    [
        ("yolov10n.yaml", "yolo26n.yaml", ["one2many", "one2one"]),
        ("yolo26n.yaml", "yolov8n.yaml", [""]),
        ("yolov8n.yaml", "yolov10n.yaml", [""]),
    ],
)
def test_end_to_end_heads(student, teacher, branches, make_model, make_step, make_batch):
    """Branch to branch where both heads have two, one-to-many where one of them has no other."""
    step = make_step(make_model(student), make_model(teacher, trained=True), distill_logit="bckd")
    assert step.distiller.parts == [f"bckd/{b}" if b else "bckd" for b in branches]
    loss, _ = step(make_batch(size=64))
    loss.sum().backward()
    alone = getattr(step.student.model[-1], "one2one_cv3", None)
    assert alone is None or (alone[0][0][0].conv.weight.grad is not None)


def test_fused_head(make_model, make_distiller):
    """A live end-to-end teacher that was fused for inference has one branch left, and the message says what to do."""
    teacher = make_model("yolo26n.yaml", trained=True)
    teacher.model[-1].end2end = True
    teacher.model[-1].fuse()
    with pytest.raises(ValueError, match="distill_logit=bckd': the teacher's head was fused for inference"):
        make_distiller(make_model(), teacher, distill_logit="bckd")
    assert make_distiller(make_model(), teacher, distill_feat="cwd").pairs
