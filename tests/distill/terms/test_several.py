"""Several teachers at once, and the student's own average."""

import pytest
import torch
import yaml
from short_run import columns, options, rows

from ultralytics import YOLO


def test_two_families(data_yaml, student_yaml, teacher_pt, make_model, tmp_path, log):
    """A path and a live model of another family, a gain each; parts, formula and args name both."""
    other = make_model("yolov5n.yaml", trained=True)
    more = {"model_t": [str(teacher_pt), other], "distill_feat": "cwd", "dfea": [1, 0.5], "distill_logit": "bckd"}
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, **more))
    header, row = columns(tmp_path), rows(tmp_path)[0]
    assert {"distill/t1/cwd/P3", "distill/t2/cwd/P5", "distill/t2/bckd"} <= set(header)
    parts = [sum(row[f"distill/t{t}/cwd/P{i}"] for i in (3, 4, 5)) for t in (1, 2)]
    assert row["train/dfea_loss"] == pytest.approx(parts[0] + 0.5 * parts[1], rel=1e-3)
    saved = yaml.safe_load((tmp_path / "run/args.yaml").read_text())["model_t"]
    assert saved == [str(teacher_pt.resolve()), str(tmp_path / "run/weights/teacher2.pt")]
    said = "\n".join(log())
    assert "0.5 x cwd" in said and "t2/P3 student layer 15" in said


def test_layers_for_each(data_yaml, student_yaml, teacher_pt, tmp_path):
    """Each teacher may have its own layer pairs; the command line's spelling of the list works."""
    layers = [[[15, 15]], [[18, 18], [21, 21]]]
    more = {"model_t": f"[{teacher_pt},{teacher_pt}]", "distill_layers": layers, "distill_logit": None}
    YOLO(student_yaml).train(**options(data_yaml, tmp_path, **more))
    weights = ["distill/weight/t1/cwd", "distill/weight/t2/cwd"]
    parts = ["distill/t1/cwd/15", "distill/t2/cwd/18", "distill/t2/cwd/21", *weights]
    assert [c for c in columns(tmp_path) if "cwd" in c] == parts


def test_several_resume(data_yaml, student_yaml, teacher_pt, wide_teacher_pt, tmp_path):
    """The layers of both teachers come back on resume."""
    kept, found = {}, {}

    class Stop(Exception):
        """Raised in place of a kill."""

    def stop(trainer):
        kept.update({k: v.clone() for k, v in trainer.distill.step.distiller.state_dict().items()})
        raise Stop

    def start(trainer):
        found.update({k: v.clone() for k, v in trainer.distill.step.distiller.state_dict().items()})

    model = YOLO(student_yaml)
    model.add_callback("on_model_save", stop)
    with pytest.raises(Stop):
        more = {"model_t": [str(teacher_pt), str(wide_teacher_pt)], "distill_feat": "cwd"}
        model.train(**options(data_yaml, tmp_path, epochs=2, nbs=4, **more))
    model = YOLO(tmp_path / "run/weights/last.pt")
    model.add_callback("on_train_start", start)
    model.train(resume=True)
    assert kept and all(torch.equal(v, found[k]) for k, v in kept.items())


@pytest.mark.slow
def test_own_average(data_yaml, student_yaml, tmp_path):
    """`model_t=ema`: the average teaches, its word grows from nothing over the first fifth of the run, and resumes."""
    weights = []
    model = YOLO(student_yaml)
    model.add_callback("on_train_batch_end", lambda t: weights.append(t.model.weight))
    model.train(**options(data_yaml, tmp_path, epochs=5, model_t="ema", save_period=1))
    assert weights == pytest.approx([min(i / 2, 1) for i in range(10)])  # two batches an epoch: a fifth is two batches
    assert all(r["train/dlogit_loss"] > 0 for r in rows(tmp_path))
    (tmp_path / "run/weights/epoch1.pt").rename(tmp_path / "run/weights/last.pt")
    YOLO(tmp_path / "run/weights/last.pt").train(resume=True)
    assert rows(tmp_path)[-1]["epoch"] == 5


def test_born_again(data_yaml, student_yaml, student_pt, tmp_path):
    """A teacher of the student's own architecture needs no align layers and teaches."""
    model = YOLO(student_yaml)
    model.train(**options(data_yaml, tmp_path, model_t=str(student_pt)))
    assert not list(model.trainer.distill.step.distiller.parameters()) and rows(tmp_path)[0]["distill/relative"] > 0
