"""A user's own loss and distiller, as in docs/own.md and own_distiller.md: trained, saved, resumed and refused."""

import subprocess
import sys

import pytest
import torch
import yaml
from doc_texts import at, environment, lay_out
from short_run import columns, options, rows
from torch import nn

from ultralytics import YOLO
from ultralytics.distill.losses import KL

TEXT = "myloss:Outline(p=1)"


class Stop(Exception):
    """Raised in place of a kill."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory, data_yaml, student_pt, teacher_pt, make_model):
    """A folder with the files of the page."""
    pages = ["own.md", "own_distiller.md", "moving.md"]
    return lay_out(tmp_path_factory.mktemp("desk"), pages, data_yaml, student_pt, teacher_pt, make_model)


@pytest.fixture
def seated(desk, monkeypatch):
    """Run in that folder, with its files importable."""
    at(desk, monkeypatch)
    return desk


def spell(how):
    """Return the page's loss as a class or an instance, and the text that stands for it."""
    from myloss import Outline

    return {"class": (Outline, "myloss:Outline"), "instance": (Outline(p=1), TEXT)}[how]


def watch(model, seen, stop_after=None):
    """Keep the distiller's state at the start and after each epoch; stop when an epoch is saved."""

    def state(trainer):
        return {k: v.clone() for k, v in trainer.distill.step.distiller.state_dict().items()}

    def saved(trainer):
        if trainer.epoch == stop_after:
            raise Stop

    model.add_callback("on_train_start", lambda trainer: seen.setdefault("start", state(trainer)))
    model.add_callback("on_train_epoch_end", lambda trainer: seen.__setitem__("end", state(trainer)))
    model.add_callback("on_model_save", saved)
    return model


def test_loss_is_trained(seated, data_yaml, teacher_pt, student_yaml, tmp_path):
    """Its parameters train, its columns and its text are in the run's files, best.pt is plain."""
    given, text = spell("class")
    seen, more = {}, {"model_t": str(teacher_pt), "distill_feat": given, "distill_logit": None, "nbs": 4}
    watch(YOLO(student_yaml), seen).train(**options(data_yaml, tmp_path, **more))
    filters = [k for k in seen["start"] if "filter" in k]
    assert len(filters) == 6 and all(not torch.equal(seen["start"][k], seen["end"][k]) for k in filters)
    assert rows(tmp_path)[0]["train/dfea_loss"] > 0 and "distill/Outline/P3" in columns(tmp_path)
    assert yaml.safe_load((tmp_path / "run/args.yaml").read_text())["distill_feat"] == text
    ckpt = torch.load(tmp_path / "run/weights/best.pt", weights_only=False)
    assert "distill" not in ckpt and type(ckpt["model"]).__name__ == "DetectionModel"
    assert ckpt["train_args"]["distill_feat"] == text


def test_command_line(desk, data_yaml, teacher_pt, student_yaml, tmp_path):
    """The command line finds the class through PYTHONPATH and trains what Python trains."""
    more = {"model_t": str(teacher_pt), "distill_feat": f"[cwd,{TEXT}]", "distill_logit": "none"}
    words = [f"{k}={v}" for k, v in options(data_yaml, tmp_path, model=student_yaml, **more).items()]
    code = "from ultralytics.cfg import entrypoint; entrypoint('')"
    line = [sys.executable, "-c", code, "train", *words]
    done = subprocess.run(line, capture_output=True, text=True, env=environment(desk), cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "1 x Outline(p=1)" in done.stdout + done.stderr
    assert yaml.safe_load((tmp_path / "run/args.yaml").read_text())["distill_feat"] == f"[cwd,{TEXT}]"
    assert {"distill/cwd/P3", "distill/Outline/P3"} <= set(columns(tmp_path))


def test_interrupted_loss_comes_back(seated, data_yaml, teacher_pt, student_pt, tmp_path):
    """Given as an object, it trains; the interrupted checkpoint has its parameters, which come back by its text."""
    given, text = spell("instance")
    more = {"model_t": str(teacher_pt), "distill_feat": given, "distill_logit": None, "nbs": 4, "epochs": 2}
    seen = {}
    with pytest.raises(Stop):
        watch(YOLO(student_pt), seen, stop_after=0).train(**options(data_yaml, tmp_path, **more))
    last = tmp_path / "run/weights/last.pt"
    saved = torch.load(last, weights_only=False)["distill"]["state"]
    assert all(not torch.equal(saved[k], seen["start"][k]) for k in saved if "filter" in k)
    again = {}
    model = watch(YOLO(last), again)
    model.train(resume=True)
    assert model.trainer.args.distill_feat == text
    assert all(r["train/dfea_loss"] > 0 for r in rows(tmp_path)) and "distill/Outline/P3" in columns(tmp_path)
    assert again["start"].keys() == saved.keys() and all(torch.equal(v, saved[k]) for k, v in again["start"].items())


def test_resume_without_the_module(seated, data_yaml, teacher_pt, student_pt, tmp_path, monkeypatch):
    """A loss whose file is gone is named."""
    (seated / "gone.py").write_text((seated / "myloss.py").read_text())
    more = {"model_t": str(teacher_pt), "distill_feat": "gone:Outline", "epochs": 2}
    with pytest.raises(Stop):
        watch(YOLO(student_pt), {}, stop_after=0).train(**options(data_yaml, tmp_path, **more))
    (seated / "gone.py").unlink()
    monkeypatch.delitem(sys.modules, "gone")
    with pytest.raises(ValueError, match="'distill_feat=gone:Outline' cannot be imported .*PYTHONPATH"):
        YOLO(tmp_path / "run/weights/last.pt").train(resume=True)


@pytest.mark.parametrize("how", ["class", "text"])
def test_distiller(how, seated, data_yaml, teacher_pt, student_pt, tmp_path):
    """The page's distiller trains, shows the teacher what it prepared, stands in the CSV, and resumes."""
    from mydistiller import Direction

    given = Direction if how == "class" else "mydistiller:Direction(gain=2)"
    seen, shown = {}, []
    model = watch(YOLO(student_pt), seen, stop_after=0)

    def look(trainer):
        first = trainer.distill.step.teacher.model.model[0]
        first.register_forward_pre_hook(lambda m, args: shown.append(args[0].float().min().item()))

    model.add_callback("on_train_start", look)
    more = {"model_t": str(teacher_pt), "distill_module": given, "epochs": 2, "nbs": 4}
    with pytest.raises(Stop):
        model.train(**options(data_yaml, tmp_path, **more))
    assert shown and all(v < -0.5 for v in shown)
    assert seen["start"].keys() == seen["end"].keys()
    assert all(torch.equal(v, seen["end"][k]) == ("fit" not in k) for k, v in seen["start"].items())
    saved = torch.load(tmp_path / "run/weights/last.pt", weights_only=False)["distill"]["state"]
    again = {}
    model = watch(YOLO(tmp_path / "run/weights/last.pt"), again)
    model.train(resume=True)
    assert model.trainer.args.distill_module == ("mydistiller:Direction" if how == "class" else given)
    assert all(torch.equal(v, saved[k]) for k, v in again["start"].items())
    for row in rows(tmp_path):
        gain = 1 if how == "class" else 2
        assert row["train/dfea_loss"] == pytest.approx(gain * row["distill/direction"], rel=1e-3)
    assert "train/dlogit_loss" not in columns(tmp_path)


def test_supergradients_loss(seated):
    """The page's conversion of KDLogitsLoss is right, for its own distiller and for `distill_logit=kl(tau=1)`."""
    from kd import KD

    from ultralytics.distill.graph import Capture

    torch.manual_seed(0)
    s, t, task, c = torch.randn(4, 3), torch.randn(4, 3), torch.tensor(0.7), 0.3
    divergence = nn.KLDivLoss(reduction="none")(s.log_softmax(1), t.softmax(1)).mean()  # torch's and their default
    theirs = task * (1 - c) + divergence * c
    column = KD(None, None, None, coeff=c)(Capture(output=s), Capture(output=t), {}, {})[0]["dlogit_loss"]
    assert (1 - c) * (task + column) == pytest.approx(theirs)
    dlogit = c / (1 - c) / 3
    assert (1 - c) * (task + dlogit * KL(tau=1)({"scores": s}, {"scores": t}, {})) == pytest.approx(theirs)
