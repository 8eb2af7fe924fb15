# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Auto-batch counts teacher and terms; halving the batch after out-of-memory works with them."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from lines import needs_84
from short_run import options, rows
from torch.autograd.graph import saved_tensors_hooks

from ultralytics import YOLO
from ultralytics.distill.teacher.online import OnlineTeacher
from ultralytics.distill.training.memory_probe import probing_memory
from ultralytics.distill.training.step import Step
from ultralytics.utils import autobatch, torch_utils

MEMORY = 64 * 2**20  # bytes of the GPU that is not there

pytestmark = needs_84("measures for auto-batch in another way, and ends where memory runs out")


@contextmanager
def probe(device):
    """A memory meter for a CPU: the bytes of all tensors that a forward keeps for its backward, as if on a GPU."""
    info, sizes = {"memory": 0}, {}

    def pack(x):
        sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        yield info
    info["memory"] = sum(sizes.values()) + 2**20


class OnGPU:
    """A model that says it lies on a small GPU, for `check_train_batch_size`, and computes on the CPU."""

    def __init__(self, model):
        """Keep the model."""
        self.model = model

    def parameters(self):
        """Return what is asked for its device."""
        return iter([SimpleNamespace(device=SimpleNamespace(type="cuda", index=0))])

    def train(self):
        """Go into train mode."""
        self.model.train()
        return self

    def __getattr__(self, name):
        """Leave the rest to the model."""
        return getattr(self.__dict__["model"], name)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is not there: upstream's auto-batch fits its line to what `probe` finds."""
    backend = SimpleNamespace(
        get_device_properties=lambda d: SimpleNamespace(total_memory=MEMORY, name="none"),
        memory_reserved=lambda d: 0,
        mem_get_info=lambda d: (MEMORY, MEMORY),
        empty_cache=lambda: None,
    )
    measure = torch_utils.profile_ops
    monkeypatch.setattr(torch_utils, "cuda_memory_usage", probe)
    monkeypatch.setattr(autobatch, "get_torch_device_backend", lambda d: backend)
    monkeypatch.setattr(autobatch, "profile_ops", lambda img, model, n, device, max_num_obj: measure(img, model.model))
    monkeypatch.setattr(autobatch, "deepcopy", lambda m: m)
    monkeypatch.setattr(autobatch.torch.backends.cudnn, "benchmark", False)


def best_batch(model, step=None):
    """Return the batch that upstream's auto-batch finds for 60 percent of the memory."""
    with probing_memory(step) if step else nullcontext():
        return autobatch.check_train_batch_size(OnGPU(model), imgsz=64, amp=False, batch=-1)


@pytest.mark.slow
def test_teacher_and_terms_count(gpu, make_model, make_step):
    """Distilling leaves room for fewer images; more terms for still fewer, and an online teacher for the fewest."""
    student, teacher = make_model(), make_model(width=0.375, seed=1, trained=True)
    alone = best_batch(student)
    one = make_step(student, teacher, distill_feat="cwd")
    few = make_step(student, teacher, distill_feat=["cwd", "mgd"], distill_logit="bckd", distill_rel="sp")
    learning = Step(student, one.distiller, OnlineTeacher(teacher, one.distiller.layers[1], False, 1.0))
    ran = []
    few.teacher.model.model[0].register_forward_pre_hook(lambda m, args: ran.append(len(args[0])))
    found = [best_batch(x.student, x) for x in (one, few, learning)]
    assert 1 < found[2] < found[1] < found[0] < alone and {1, 2, 4, 8, 16} <= set(ran)


@pytest.mark.parametrize("terms", [
    {"distill_logit": "bckd(alpha=0.5)"}, {"distill_logit": "crosskd"}, {"distill_feat": "fgd"}, {"distill_rel": "crd"},
    {"distill_logit": "auto"},
])  # fmt: skip
def test_terms_that_ask_for_labels(terms, make_model, make_step):
    """Images alone are enough for every kind of term, and the gradient is that of a step."""
    step = make_step(make_model(), make_model(seed=1, trained=True), **terms)
    with probing_memory(step):
        twin = deepcopy(step.student)  # as auto-batch takes one
        output, learning, columns = twin(torch.rand(2, 3, 64, 64))
    sum(columns.values()).backward()
    assert learning is None and {"boxes", "scores"} <= output.keys()
    assert twin.model[0].conv.weight.grad.abs().sum() > 0 and not step.student._forward_hooks


def test_auto_batch_of_a_run(data_yaml, teacher_pt, student_yaml, tmp_path, log):
    """`batch=-1` on a CPU is upstream's default, said by upstream, and the run distils."""
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), batch=-1))
    assert [x for x in log() if "intended for GPU devices" in x] and rows(tmp_path)[0]["distill/relative"] > 0


def test_out_of_memory_halves_the_batch(data_yaml, teacher_pt, student_yaml, tmp_path, monkeypatch, log):
    """The first epoch begins anew with half the batch; the means of `results.csv` are of that epoch alone."""
    whole, take, seen, steps = Step.loss, Step.take_means, [], []

    def loss(self, batch):
        seen.append(len(batch["img"]))
        if seen == [4, 4]:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(self, batch)

    def means(self):
        steps.append(0 if self.record.counts is None else int(self.record.counts[0]))
        return take(self)

    monkeypatch.setattr(Step, "loss", loss)
    monkeypatch.setattr(Step, "take_means", means)
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), batch=4, epochs=2))
    assert [x for x in log() if "out of memory with batch=4. Reducing to batch=2" in x]
    assert seen == [4, 4] + [2] * 8 and [x for x in steps if x] == [1, 4, 4]
    assert len(rows(tmp_path)) == 2 and rows(tmp_path)[1]["distill/relative"] > 0


def test_decay_follows_the_halved_batch(data_yaml, teacher_pt, student_yaml, tmp_path, monkeypatch):
    """The distiller's weights decay as the student's do after upstream has set theirs for the new batch."""
    whole, seen, found = Step.loss, [], []

    def loss(self, batch):
        seen.append(len(batch["img"]))
        if seen == [4]:
            raise RuntimeError("CUDA out of memory")
        return whole(self, batch)

    def look(trainer):
        (_, own), *_ = trainer.distill.optimizer.pairs
        decays = [g["weight_decay"] for o in (trainer.optimizer, own) for g in o.param_groups]
        found.append([x for x in decays if x])

    monkeypatch.setattr(Step, "loss", loss)
    model = YOLO(student_yaml)
    model.add_callback("on_train_batch_end", look)
    run = options(data_yaml, tmp_path, model_t=str(teacher_pt), distill_feat="cwd", batch=4, nbs=2, optimizer="SGD")
    model.train(**run)
    assert len(set(found[-1])) == 1 and len(found[-1]) == 2 and seen[1:] == [2] * 4
