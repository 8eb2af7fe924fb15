"""Short real runs through the public API."""

import copy
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from doc_texts import run_command
from short_run import columns, equal, options, rows, weights

from ultralytics import YOLO
from ultralytics.distill.graph import capture


def test_recipe_alone(data_yaml, teacher_pt, student_yaml, tmp_path):
    """`model_t` and nothing else: the recipe trains, its columns stand everywhere, the files are plain."""
    before = Path(teacher_pt).read_bytes()
    model = YOLO(student_yaml)
    model.train(**options(data_yaml, tmp_path, epochs=2, val=True, model_t=str(teacher_pt)))
    header = columns(tmp_path)
    assert {"train/dlogit_loss", "distill/relative", "distill/ld", "distill/giou"} <= set(header)
    assert not {"train/dfea_loss", "distill/cwd/P3"} & set(header)  # predictions teach all classes
    assert not [c for c in header if c.startswith("val/d") and "dfl" not in c]  # no column that is always zero
    for row in rows(tmp_path):
        most = row["distill/relative"] + 4 * (
            row["distill/ld"] + row["distill/giou"]
        )  # all follow the teacher's margin
        assert row["distill/relative"] > 0 and 0 <= row["train/dlogit_loss"] <= 1.001 * most
        assert all(abs(row[f"distill/margin/{x}"]) <= 1 for x in ("boxes", "classes"))
    assert " dlogit " in model.trainer.progress_string()
    args = yaml.safe_load((tmp_path / "run/args.yaml").read_text())
    assert args["model_t"] == str(Path(teacher_pt).resolve()) and args["distill_feat"] == "auto"
    ckpt = torch.load(tmp_path / "run/weights/last.pt", weights_only=False)
    assert "distill" not in ckpt and type(ckpt["model"]).__name__ == "DetectionModel"
    assert not [k for k in ckpt["model"].state_dict() if "distill" in k or "teacher" in k]
    assert Path(teacher_pt).read_bytes() == before


@pytest.mark.parametrize("kind", ["yolo", "changed module"])
def test_live_teacher(kind, data_yaml, teacher_pt, student_yaml, tmp_path):
    """A live teacher stays bit-identical and becomes a path; only one that differs from its file is saved."""
    teacher = YOLO(teacher_pt)
    if kind == "changed module":
        with torch.no_grad():
            teacher.model.model[0].conv.weight.add_(0.01)
    before = copy.deepcopy(teacher.model.state_dict())
    modes = [m.training for m in teacher.model.modules()]
    given = teacher if kind == "yolo" else teacher.model
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, model_t=given))
    assert equal(before, teacher.model.state_dict()) and modes == [m.training for m in teacher.model.modules()]
    saved = tmp_path / "run/weights/teacher.pt"
    args = yaml.safe_load((tmp_path / "run/args.yaml").read_text())
    assert saved.exists() == (kind == "changed module")
    assert args["model_t"] == str(saved if kind == "changed module" else Path(teacher_pt).resolve())
    if kind == "changed module":
        assert equal(before, YOLO(saved).model.state_dict())


def test_gain_matters(data_yaml, teacher_pt, student_yaml, tmp_path):
    """`dfea=2` trains other weights than `dfea=1`; that the same ones come out again, see the command line below."""
    made = []
    for i, gain in enumerate((1, 2)):
        folder = tmp_path / str(i)
        more = {"model_t": str(teacher_pt), "distill_logit": None, "dfea": gain, "optimizer": "SGD", "nbs": 4}
        YOLO(student_yaml).train(**options(data_yaml, folder, warmup_epochs=0, **more))
        made.append(weights(folder))
    assert not equal(*made)


def test_own_layers_train_and_teacher_does_not(data_yaml, teacher_pt, student_yaml, tmp_path):
    """Aligns and generators change in an optimizer of their own; the trainer's has the student alone.

    The student's head runs once for each batch, whatever terms are on, and no hook is left behind.
    """
    seen, calls = {}, []
    model = YOLO(student_yaml)

    def start(trainer):
        seen["hook"] = trainer.model.model[-1].register_forward_hook(
            lambda m, a, o: calls.append(m.training) if m.training else None
        )
        step = trainer.distill.step
        seen["own"] = copy.deepcopy(step.distiller.state_dict())
        seen["teacher"] = copy.deepcopy(step.teacher.model.state_dict())
        (_, own), *_ = trainer.distill.optimizer.pairs
        ids, ours = ({id(p) for g in o.param_groups for p in g["params"]} for o in (trainer.optimizer, own))
        assert {id(p) for p in step.distiller.parameters()} == ours
        assert {id(p) for p in trainer.model.parameters()} == ids

    def end(trainer):
        seen["hook"].remove()
        assert not [m for m in trainer.model.modules() if m._forward_hooks or m._forward_pre_hooks]
        assert len(calls) == len(trainer.train_loader) > 0
        after = trainer.distill.step.distiller.state_dict()
        assert all(not torch.equal(v, after[k]) for k, v in seen["own"].items())
        kept = trainer.distill.step.teacher.model.state_dict()  # without the weights that are packed at the first call
        assert kept and all(torch.equal(v, seen["teacher"][k]) for k, v in kept.items())

    model.add_callback("on_train_start", start)
    model.add_callback("on_train_epoch_end", end)
    terms = {"distill_feat": "[cwd,mgd,mimic]", "distill_logit": "[bckd,ld,mse]", "distill_layers": [[4, 6], [15, 15]]}
    model.train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), nbs=4, **terms))


def test_clipping_is_apart(data_yaml, teacher_pt, student_yaml, tmp_path):
    """A huge gradient of the distiller's own layers does not shrink the student's step."""
    norms = []
    model = YOLO(student_yaml)

    def blow_up(trainer):
        inner = trainer.optimizer_step

        def step():
            for p in trainer.distill.step.distiller.parameters():
                p.grad.fill_(1e6)
            for p in trainer.model.parameters():
                if p.grad is not None:
                    p.grad.mul_(1e-3)
            before = [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]
            trainer.optimizer.zero_grad, keep = (lambda: None), trainer.optimizer.zero_grad
            inner()
            after = [p.grad for p in trainer.model.parameters() if p.grad is not None]
            norms.append(all(torch.equal(a, b) for a, b in zip(before, after)))
            trainer.optimizer.zero_grad = keep
            trainer.optimizer.zero_grad()

        trainer.optimizer_step = step

    model.add_callback("on_train_start", blow_up)
    model.train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), nbs=4))
    assert norms and all(norms)


def test_stop_and_schedule(data_yaml, teacher_pt, student_yaml, tmp_path):
    """The last `distill_stop` epochs train plainly; a schedule scales the column, not the unweighted values."""
    more = {"model_t": str(teacher_pt), "distill_stop": 1, "distill_schedule": "linear(end=0)", "distill_logit": None}
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, epochs=3, **more))
    first, second, last = rows(tmp_path)
    assert 0 < second["train/dfea_loss"] < first["train/dfea_loss"] < first["distill/cwd/P3"] * 4
    assert second["distill/cwd/P3"] > 0.5 * first["distill/cwd/P3"]
    assert last["train/dfea_loss"] == last["distill/cwd/P3"] == 0


def test_tutorial_script(data_yaml, teacher_pt, tmp_path, student_yaml, caplog):
    """The tutorials' script runs as their readers have it, with a list of image sizes and models from v5 YAMLs."""
    model_t = YOLO("yolov5n.yaml")
    model_t.model.model[-1].set_Distillation = True
    model_s = YOLO("yolov5n.yaml")
    args = options(data_yaml, tmp_path, imgsz=[32, 64], optimizer="SGD")
    model_s.train(**args, model_t=model_t.model)
    assert rows(tmp_path)[0]["train/dfea_loss"] > 0


def test_djdll_script(data_yaml, teacher_pt, student_pt, tmp_path):
    """The other fork's call: a trained student, `Distillation=` with a module, which is its file, and `loss_type=`."""
    model_t, model_s = YOLO(teacher_pt), YOLO(student_pt)
    model_s.train(**options(data_yaml, tmp_path, Distillation=model_t.model, loss_type="mgd", amp=False, lr0=0.001))
    assert {"distill/mgd/P3", "distill/mgd/P4", "distill/mgd/P5"} <= set(columns(tmp_path))
    args = yaml.safe_load((tmp_path / "run/args.yaml").read_text())
    assert args["model_t"] == str(Path(teacher_pt).resolve()) and not (tmp_path / "run/weights/teacher.pt").exists()


def test_command_line_and_cfg(data_yaml, teacher_pt, student_yaml, tmp_path, monkeypatch, log):
    """Lists, parameters in brackets and layer pairs give the same run in Python, on the command line and in a YAML.

    The command line is run in this process, so that all three round alike; test_own.py has one of its own.
    """
    more = {"distill_feat": "[cwd(tau=2),mimic]", "dfea": [1, 0.5], "distill_layers": [[15, 15], [18, 18]]}
    more |= {"model_t": str(teacher_pt), "distill_logit": "none"}
    YOLO(student_yaml).train(**options(data_yaml, tmp_path / "python", **more))
    cfg = tmp_path / "run.yaml"
    cfg.write_text(yaml.safe_dump({**options(data_yaml, tmp_path / "cfg", **more), "model": str(student_yaml)}))
    YOLO(student_yaml).train(cfg=str(cfg))
    log.clear()
    words = [f"{k}={v}" for k, v in options(data_yaml, tmp_path / "cli", model=student_yaml, **more).items()]
    run_command(shlex.join(["yolo", "train", *words]), monkeypatch)
    assert any("cwd(tau=2, norm=batch)" in x for x in log())
    python, *others = (weights(tmp_path / x) for x in ("python", "cfg", "cli"))
    assert all(equal(python, x) for x in others)


def test_tap_sees_what_upstream_computed(student_yaml):
    """The tapped maps carry gradient to the first layer."""
    model = YOLO(student_yaml).model.train()
    with capture(model, [15]) as seen:
        model(torch.rand(2, 3, 64, 64))
    seen.maps[15].sum().backward()
    assert model.model[0].conv.weight.grad.abs().sum() > 0
