# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Distillation beside every other argument of training: each once, in a short real run."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from lines import needs_84
from short_run import options, rows

from ultralytics import YOLO
from ultralytics.distill.upstream import unwrap_model

OPTIMIZERS = ["SGD", "MuSGD"]  # `auto` is AdamW in a short run: test_training.py looks at its layers
MORE_OPTIMIZERS = ["AdamW", "Adam", "Adamax", "NAdam", "RAdam", "RMSProp", "auto"]
ARGUMENTS = [
    {"patience": 1, "cos_lr": True, "close_mosaic": 1, "epochs": 2, "val": True},
    {"fraction": 0.5, "classes": [0, 2]},
    {"single_cls": True},
    {"cls_pw": 1.0},
]  # for `freeze` see below, for sizes test_sizes.py, for `cache` and `rect` test_unlabeled_training.py
MORE_ARGUMENTS = [
    {"freeze": 10},
    {"freeze": [0, 15, 18, 21]},
    {"fraction": 0.5, "rect": True, "cache": "ram"},
    {"multi_scale": 0.5},
    {"time": 0.0005, "epochs": 50},
    {"mosaic": 1.0, "mixup": 1.0, "cutmix": 1.0},
    {"cache": "disk"},
    {"classes": 1},
    {"amp": False, "deterministic": False},
    {"nbs": 4, "warmup_epochs": 0, "dropout": 0.1},
    {"imgsz": [32, 64]},
    {"channels_last": True},
    {"save_period": 1, "profile": True},
    {"val": True, "plots": True},
]
NEW = {"cutmix", "cls_pw", "channels_last", "multi_scale"}  # what 8.3 does not have, or not as a number


def check(folder):
    """Whether the terms were computed in the first epoch, are finite, and what came out is plain."""
    first = rows(folder)[0]
    terms = {k: v for k, v in first.items() if k.startswith(("distill/", "train/dfea", "train/dlogit"))}
    assert {"train/dfea_loss", "train/dlogit_loss", "distill/cwd/P3", "distill/relative"} <= set(terms)
    margins = [terms.pop(k) for k in ("distill/margin/boxes", "distill/margin/classes")]
    assert all(abs(v) <= 1 for v in margins) and 0 <= terms.pop("train/dlogit_loss") < 1e4  # 0 where no teacher leads
    weights = {k: terms.pop(k) for k in list(terms) if k.startswith("distill/weight/")}
    assert all(0 <= v <= weights["distill/weight/cwd"] == 1 for v in weights.values())
    assert all(0 < v < 1e4 for v in terms.values())
    ckpt = torch.load(folder / "run/weights/last.pt", weights_only=False)
    assert "distill" not in ckpt and type(ckpt["model"]).__name__ == "DetectionModel"


def cases():
    """Return the arguments with what they cannot run without; those that say less are slow."""
    found = []
    for more in ARGUMENTS + MORE_ARGUMENTS:
        marks = [needs_84("has no such argument, or another form of it")] if NEW & set(more) else []
        marks += [pytest.mark.slow] if more in MORE_ARGUMENTS else []
        found.append(pytest.param(more, id=",".join(f"{k}={v}" for k, v in more.items()), marks=marks))
    return found


def optimizers():
    """Return the optimizers; MuSGD came with 8.4, the less used ones are slow."""
    first = [pytest.param(x, marks=[needs_84("has no MuSGD")] if x == "MuSGD" else []) for x in OPTIMIZERS]
    return first + [pytest.param(x, marks=pytest.mark.slow) for x in MORE_OPTIMIZERS]


@pytest.mark.parametrize("more", cases())
def test_argument(more, data_yaml, teacher_pt, student_yaml, tmp_path):
    """The recipe trains with it."""
    model = YOLO(student_yaml)
    model.train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), distill_feat="cwd", **more))
    check(tmp_path)


@pytest.mark.parametrize("name", optimizers())
def test_optimizer(name, data_yaml, teacher_pt, student_yaml, tmp_path):
    """Each optimizer takes the distiller's own layers, and moves them as the student's."""
    model, before = YOLO(student_yaml), {}

    def start(trainer):
        before.update({k: v.detach().clone() for k, v in trainer.distill.step.distiller.named_parameters()})

    def end(trainer):
        now = dict(trainer.distill.step.distiller.named_parameters())
        assert before and all(not torch.equal(v, now[k]) and now[k].isfinite().all() for k, v in before.items())
        (_, own), *_ = trainer.distill.optimizer.pairs
        assert type(own) is type(trainer.optimizer) and sum(len(g["params"]) for g in own.param_groups) == len(before)

    model.add_callback("on_train_start", start)
    model.add_callback("on_train_epoch_end", end)
    model.train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), distill_feat="cwd", optimizer=name, nbs=4))
    check(tmp_path)


def test_a_frozen_layer_stays(data_yaml, teacher_pt, student_yaml, tmp_path):
    """A frozen layer is not moved by a term either; where nothing below it learns, the term is refused."""
    model, before = YOLO(student_yaml), {}

    def weights(trainer):
        return {k: v.clone() for k, v in unwrap_model(trainer.model).named_parameters() if ".bn." not in k}

    def end(trainer):
        moved = {k.split(".")[1] for k, v in weights(trainer).items() if not torch.equal(v, before[k])}
        assert "4" not in moved and {"0", "3", "5", "15"} <= moved

    model.add_callback("on_train_start", lambda trainer: before.update(weights(trainer)))
    model.add_callback("on_train_epoch_end", end)
    more = {"model_t": str(teacher_pt), "freeze": [4], "distill_layers": [4, 15], "distill_logit": "none", "nbs": 4}
    model.train(**options(data_yaml, tmp_path, **more, optimizer="SGD"))
    assert rows(tmp_path)[0]["distill/cwd/4"] > 0
    with pytest.raises(
        RuntimeError, match=r"'cwd/4' \(student layer 4, teacher layer 4\) is detached from the student"
    ):
        YOLO(student_yaml).train(**options(data_yaml, tmp_path / "all", **{**more, "freeze": 12}))


@needs_84("has no amp=bf16")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="amp=bf16 needs a GPU")
def test_mixed_precision_in_bf16(data_yaml, teacher_pt, student_yaml, tmp_path):
    """The recipe trains with it."""
    model = YOLO(student_yaml)
    model.train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), amp="bf16", device=0))
    check(tmp_path)


@needs_84("has no quantization-aware training")
def test_quantization_aware(data_yaml, teacher_pt, student_yaml, tmp_path):
    """The student's fake quantization is trained with the teacher in full precision, and kept in the checkpoint."""
    if importlib.util.find_spec("modelopt") is None:
        pytest.skip("not installed: nvidia-modelopt")
    from ultralytics.utils.torch_utils import is_qat

    model, seen = YOLO(student_yaml), []

    def start(trainer):
        seen.extend((is_qat(unwrap_model(trainer.model)), is_qat(trainer.distill.step.teacher.model)))

    model.add_callback("on_train_start", start)
    model.train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), quantize=8, distill_check=True))
    assert seen == [True, False]
    check(tmp_path)
    assert is_qat(YOLO(tmp_path / "run/weights/last.pt").model)
