# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What distillation keeps in memory beyond plain training: the teacher's weights and our layers, nothing else."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from short_run import options
from torch._subclasses.fake_tensor import FakeTensor

from ultralytics import YOLO
from ultralytics.distill.distiller import Distiller


def size(x):
    """Return the bytes of a tensor's memory and what tells it from others; oneDNN's own layouts have no storage."""
    if x.layout != torch.strided:
        return id(x), x.numel() * x.element_size()
    storage = x.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


def live():
    """Return the bytes of all live tensors, gradients included; memory that tensors share counts once."""
    gc.collect()
    found = [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor) and not isinstance(x, FakeTensor)]
    found += [x.grad for x in found if x.is_leaf and x.grad is not None]
    return sum(dict(map(size, found)).values())


class Watch:
    """Notes the live tensors before each optimizer step, when gradients are whole, and after each batch."""

    def __init__(self, model):
        """Hang on to the run's callbacks."""
        self.before = live()
        self.at_step, self.after = [], []
        model.add_callback("on_train_start", self.start)
        model.add_callback("on_train_batch_end", lambda trainer: self.after.append(live() - self.before))

    def start(self, trainer):
        """Watch the optimizer; the first batch's slots are filled by then in every later one."""
        self.trainer = weakref.ref(trainer)
        trainer.optimizer.register_step_pre_hook(lambda *_: self.at_step.append(live() - self.before))


def train(model, folder, data_yaml, **more):
    """Train for two epochs and return what was noted."""
    watch = Watch(model)
    model.train(**options(data_yaml, folder, nbs=4, optimizer="SGD", epochs=2, **more))
    return watch


@pytest.mark.parametrize("precision, width", [pytest.param("fp32", 4, marks=pytest.mark.slow), ("bf16", 2)])
def test_live_tensors(precision, width, few_objects, data_yaml, wide_teacher_pt, student_yaml, tmp_path):
    """At the step and after it: the teacher once, in its precision, our layers with gradient and momentum, no map."""
    plain = train(YOLO(student_yaml), tmp_path / "plain", data_yaml)
    found = []

    def note(trainer):
        layers = [p.numel() for p in trainer.distill.step.distiller.parameters()]
        found.append((trainer.distill.step.teacher.size, sum(layers)))

    model = YOLO(student_yaml)
    model.add_callback("on_train_start", note)
    ours = train(
        model,
        tmp_path / "ours",
        data_yaml,
        model_t=str(wide_teacher_pt),
        distill_feat="cwd",
        distill_precision=precision,
    )
    teacher, layers = found[0]
    assert teacher > 1e6 and layers > 1e4
    for noted, other, copies in ((ours.at_step, plain.at_step, 3), (ours.after, plain.after, 2)):
        assert len(noted) == len(other) == 4
        expected = teacher * width + layers * 4 * copies  # weights, momentum and, at the step, gradients
        assert noted[-1] - other[-1] == pytest.approx(expected, rel=0.1)
        assert noted[-1] <= noted[1] * 1.01  # nothing piles up


def test_maps_are_released(data_yaml, teacher_pt, student_yaml, tmp_path, monkeypatch):
    """No map of either model lives on to the optimizer step; the teacher's have its precision and no graph.

    Neither the optimizer, the average nor the trainer's model holds a weight of the teacher.
    """
    whole, maps, alive, held = Distiller.forward, [], [], []

    def forward(self, student, teacher, batch, targets):
        shown = [*teacher.maps.values(), *(x for x in teacher.output.values() if isinstance(x, torch.Tensor))]
        assert shown and all(x.dtype == torch.bfloat16 and not x.requires_grad for x in shown)
        maps[:] = [weakref.ref(x) for x in (*shown, *student.maps.values())]
        return whole(self, student, teacher, batch, targets)

    def start(trainer):
        trainer.optimizer.register_step_pre_hook(lambda *_: alive.extend(r for r in maps if r() is not None))

    def look(trainer):
        teacher = trainer.distill.step.teacher
        own = {size(x)[0] for x in teacher.model.state_dict().values() if x is not None}
        states = [x for m in (trainer.model, trainer.ema.ema) for x in m.state_dict().values()]
        slots = [p for g in trainer.optimizer.param_groups for p in g["params"]]
        assert own and len(states) > 300 and slots
        held.extend(x for x in states + slots if size(x)[0] in own)

    monkeypatch.setattr(Distiller, "forward", forward)
    model = YOLO(student_yaml)
    model.add_callback("on_train_start", start)
    model.add_callback("on_train_batch_end", look)
    more = {"model_t": str(teacher_pt), "distill_feat": "cwd", "distill_precision": "bf16"}
    model.train(**options(data_yaml, tmp_path, nbs=4, **more))
    assert len(maps) >= 8 and not alive and not held
