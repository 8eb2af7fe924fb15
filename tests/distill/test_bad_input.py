# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Bad input: a sentence that names argument, value and what would do; nothing is trained, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from lines import needs_84
from short_run import options
from torch import nn

from ultralytics import YOLO

HERE = f"{__name__}:"


class Shows(nn.Module):
    """A user's loss that gets something wrong."""

    def __init__(self, what: str = ""):
        """Keep what to get wrong."""
        super().__init__()
        self.what = what

    def forward(self, student, teacher, batch):
        """Return nothing that could be trained with."""
        difference = (student - teacher).square().mean()
        if self.what == "fails":
            raise KeyError("masks")
        wrong = {"detached": difference.detach(), "zero": difference * 0, "nan": difference / 0 * 0, "pair": (1, 2)}
        return wrong[self.what]


class NoDistiller(nn.Module):
    """A module that compares nothing."""


BEFORE = [  # found before the results folder is made
    ({"model_t": "nowhere.pt"}, r"'model_t=nowhere.pt' does not exist; give the path of a trained model"),
    ({"model_t": __file__}, r"'model_t=.*test_bad_input.py' cannot be read as an Ultralytics checkpoint.*; give a"),
    ({"model_t": 3}, r"'model_t=3' is not a path, a YOLO, an nn.Module or a function"),
    ({"model_t": nn.Linear(1, 1)}, r"'model_t' is a Linear, which cannot take images of 3x64x64 .*; give the size"),
    ({"distill_imgsz": 70}, r"'distill_imgsz=70' must be a multiple of 32, .*; 64 would do"),
    ({"distill_imgsz": -32}, r"'distill_imgsz=-32'"),
    ({"distill_mean": [0.5, 0.5]}, r"'distill_mean=\[0.5, 0.5\]' has 2 numbers for the teacher's 3 channels; give one"),
    ({"distill_std": 0}, r"'distill_std=0' must be a finite number above 0"),
    ({"distill_imgsz": 32, "distill_online": True}, r"'distill_imgsz=32' is for a frozen teacher, .*; leave one"),
    ({"distill_check": "often"}, r"'distill_check=often' is unknown; choose from False, True"),
    pytest.param(
        {"distill_model": "x.pt"},
        r"'model_t=.*' and 'distill_model=x.pt' are two teachers; give one",
        marks=needs_84("has no distill_model="),
    ),
    ({"model_t": ["ema", "yolov8n.yaml"]}, r"'model_t=\['ema', .*'ema' teaches alone; give it without"),
    ({"model_t": "ema", "distill_online": True}, r"'distill_online=True' trains one .*'model_t=ema' is no .*; give"),
    ({"distill_online": "maybe"}, r"'distill_online=maybe' is unknown; choose from False, True"),
    ({"distill_feat": "cwdd"}, r"'distill_feat=cwdd' is unknown; choose from .*cwd"),
    ({"distill_logit": "cwd"}, r"'distill_logit=cwd' is a feature term; give it in 'distill_feat'"),
    ({"distill_rel": "cwd"}, r"'distill_rel=cwd' is a feature term; give it in 'distill_feat'"),
    ({"distill_feat": "mgd(lamda=1)"}, r"'distill_feat=mgd\(lamda=1\)': mgd has no parameter 'lamda'; valid ones: "),
    ({"distill_feat": "cwd(tau=-1)"}, r"'distill_feat=cwd\(tau=-1\)' cannot be built: 'tau=-1' must be a finite"),
    ({"distill_feat": "cwd(tau"}, r"'distill_feat=cwd\(tau' cannot be read; write parameters as"),
    ({"distill_feat": "no.such:Loss"}, r"'distill_feat=no.such:Loss' cannot be imported .*; give 'package"),
    ({"distill_feat": None, "distill_logit": None}, r"'model_t=.*' is given, but 'distill_feat', .*; leave one of"),
    ({"distill_module": f"{HERE}NoDistiller"}, r"'distill_module=.*NoDistiller' is no distiller; derive it from"),
    ({"distill_layers": "deep"}, r"'distill_layers=deep' is not 'auto', a layer index"),
    ({"distill_layers": [15, 15]}, r"'distill_layers=\[15, 15\]' names 15 twice; name each"),
    ({"distill_tau": 0}, r"'distill_tau=0' must be a finite number above 0"),
    ({"distill_alpha": 2}, r"'distill_alpha=2' must be a finite number of at least 0 and at most 1"),
    ({"distill_stop": -1}, r"'distill_stop=-1' must be a whole number of at least 0"),
    ({"dfea": -1}, r"'dfea=-1' must be a finite number of at least 0"),
    ({"dlogit": "much"}, r"'dlogit=much' must be a finite number"),
    ({"dline": float("nan")}, r"'dline=nan' must be a finite number"),
    ({"dfea": [1, 2]}, r"'dfea=\[1, 2\]' is a list, but 'distill_feat=auto' takes one number, .*; give a number, or"),
    ({"dfea": [1, 2], "distill_feat": "cwd"}, r"'dfea=\[1, 2\]' has 2 gains for 1 term.* give one number"),
    ({"distill_schedule": "sinus"}, r"'distill_schedule=sinus' is unknown; choose from constant"),
    ({"distill_schedule": "linear(ende=0)"}, r"'distill_schedule=linear\(ende=0\)': .*'ende'; valid ones: .*end"),
    ({"distill_precision": "fp8"}, r"'distill_precision=fp8' is unknown; choose from auto"),
]  # fmt: skip
BUILT = [  # found when student and teacher are held against each other
    ({"distill_layers": [99]}, r"'distill_layers=\[99\]': the student has layers 0 to 21 .* 99 is out"),
    ({"model_t": "yolov8n-cls.yaml", "distill_logit": "bckd"}, r"'distill_logit=bckd': predictions of Detect and "),
    ({"distill_logit": "kl"}, r"'distill_logit=kl': it is a softmax over classes, .*; use relative or bckd"),
    ({"model_t": "other names", "distill_logit": "bckd"}, r"'distill_logit=bckd': no class name is shared: .*teacher"),
]  # fmt: skip
FIRST = [  # found at the first batch
    ("zero", r"term 'Shows/15-18' \(student layer 15, teacher layer 18\) is exactly zero on the first batch; .* equal"),
    ("detached", r"term 'Shows/15-18' \(student layer 15, teacher layer 18\) is detached .*; leave it out"),
    ("nan", r"term 'Shows/15-18' \(student layer 15, teacher layer 18\) is nan on the first batch; try another"),
    ("pair", r"term 'Shows/15-18' \(student layer 15, teacher layer 18\) is not a scalar .*; return one number"),
    ("fails", r"masks"),
]


def refused(student_yaml, arguments):
    """Train; return the error, after looking that no batch got through."""
    model, trained = YOLO(student_yaml), []
    model.add_callback("on_train_batch_end", trained.append)
    with pytest.raises((ValueError, FileNotFoundError, RuntimeError, KeyError)) as error:
        model.train(**arguments)
    assert not trained
    return error


def fill(more, make_model):
    """Put a teacher that knows other things in the place of its name."""
    if more.get("model_t") != "other names":
        return more
    teacher = make_model(width=0.25, seed=1, trained=True)
    teacher.names = dict(enumerate("abc"))
    return {**more, "model_t": teacher}


@pytest.mark.parametrize(("more", "message"), [*BEFORE, *BUILT])
def test_bad_argument(more, message, data_yaml, teacher_pt, student_yaml, make_model, tmp_path):
    """The message is one sentence, it comes before the first batch, and no folder is left."""
    more = fill(more, make_model)
    arguments = options(data_yaml, tmp_path / "runs", **{"model_t": str(teacher_pt), **more})
    error = refused(student_yaml, arguments)
    error.match(message)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("what", "message"), FIRST)
def test_bad_term(what, message, data_yaml, teacher_pt, student_yaml, tmp_path):
    """A term that would teach nothing, or fails, is found at the first batch; no step is made, no folder is left."""
    more = {"distill_feat": f"{HERE}Shows(what={what})", "distill_layers": [[15, 18]], "plots": what == "zero"}
    error = refused(student_yaml, options(data_yaml, tmp_path / "runs", model_t=str(teacher_pt), **more))
    error.match(message)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("more", [BEFORE[0][0], BUILT[0][0], {"distill_feat": f"{HERE}Shows(what=zero)"}])
def test_earlier_run_in_the_folder_stays(more, data_yaml, teacher_pt, student_yaml, tmp_path):
    """With `exist_ok` the folder may hold an earlier run: every file of it is as it was."""
    for name in ("args.yaml", "results.csv", "labels.jpg", "weights/last.pt", "weights/teacher.pt"):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text(f"earlier {name}")
    live = YOLO(teacher_pt).model
    del live.pt_path  # a teacher without a file, which is saved beside the checkpoints
    refused(student_yaml, options(data_yaml, tmp_path, **{"model_t": live, "plots": True, **more}))
    found = {p.relative_to(tmp_path / "run").as_posix(): p for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert found.keys() == {"args.yaml", "results.csv", "labels.jpg", "weights/last.pt", "weights/teacher.pt"}
    assert all(p.read_text() == f"earlier {name}" for name, p in found.items())


@pytest.mark.parametrize("live", [False, True])
def test_a_teacher_that_the_student_would_replace_stays(live, data_yaml, teacher_pt, student_yaml, tmp_path):
    """With `exist_ok` and the folder of the teacher's own run, its file would become the student's."""
    own = tmp_path / "run/weights/best.pt"
    own.parent.mkdir(parents=True)
    own.write_bytes(Path(teacher_pt).read_bytes())
    teacher = YOLO(own) if live else str(own)
    refused(student_yaml, options(data_yaml, tmp_path, model_t=teacher)).match("lies where this run writes its own")
    assert own.read_bytes() == Path(teacher_pt).read_bytes() and [*(tmp_path / "run").rglob("*.*")] == [own]


def test_a_strangers_file_stays(data_yaml, teacher_pt, student_yaml, tmp_path):
    """What a callback puts into the new folder is not the run's own: it is left, without `args.yaml` beside it."""
    model = YOLO(student_yaml)
    model.add_callback("on_pretrain_routine_start", lambda t: (t.save_dir / "notes.txt").write_text("mine"))
    with pytest.raises(ValueError, match="out of range"):
        model.train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), distill_layers=[99]))
    assert [p.name for p in (tmp_path / "run").rglob("*")] == ["notes.txt"]


def test_a_run_that_began_stays(data_yaml, teacher_pt, student_yaml, tmp_path):
    """Once an epoch is over, an error takes nothing away."""
    model = YOLO(student_yaml)

    def fail(trainer):
        if trainer.epoch == 1:
            raise RuntimeError("later")

    model.add_callback("on_train_batch_start", fail)
    with pytest.raises(RuntimeError, match="later"):
        model.train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), epochs=3))
    assert {"args.yaml", "results.csv", "last.pt"} <= {p.name for p in (tmp_path / "run").rglob("*")}


def test_resume_without_its_teacher(data_yaml, teacher_pt, student_yaml, tmp_path):
    """A resume whose teacher is gone names it; the run that waits to be resumed is untouched."""
    gone = tmp_path / "gone.pt"
    gone.write_bytes(Path(teacher_pt).read_bytes())
    model = YOLO(student_yaml)

    def stop(trainer):
        raise InterruptedError

    model.add_callback("on_model_save", stop)
    with pytest.raises(InterruptedError):
        model.train(**options(data_yaml, tmp_path, epochs=3, model_t=str(gone)))
    gone.unlink()
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(FileNotFoundError, match=r"'model_t=.*gone.pt' does not exist; give the path"):
        YOLO(tmp_path / "run/weights/last.pt").train(resume=True)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_untrained_teacher_warns(data_yaml, student_yaml, tmp_path, log):
    """A teacher from a YAML is allowed, and loudly called untrained."""
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, model_t="yolov8n.yaml"))
    assert any("'model_t=yolov8n.yaml' is an untrained teacher" in line for line in log())
