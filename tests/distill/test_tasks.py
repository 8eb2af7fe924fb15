"""Every task trains with a teacher, on a set of its own kind, by the recipe and by terms of its own."""

import pytest
import torch
from short_run import options, rows
from small_models import build_model, save_model, shrink
from task_sets import draw_set

from ultralytics import YOLO
from ultralytics.distill.config import RESPONSES, WITHOUT_BINS
from ultralytics.distill.upstream import LINE, save_yaml

FAMILY = "yolo26n" if LINE == "8.4" else "yolo11n"
SUFFIXES = ("detect", ""), ("segment", "-seg"), ("pose", "-pose"), ("obb", "-obb"), ("classify", "-cls")
MODELS = {task: f"{FAMILY}{suffix}.yaml" for task, suffix in (*SUFFIXES, ("semantic", "-sem"), ("depth", "-depth"))}
CLASSES = "bckd" if LINE == "8.4" else "relative"  # by the student's bins
BOXES = [CLASSES, "giou"]
TERMS = {"detect": BOXES, "segment": [*BOXES, "mask"], "pose": [*BOXES, "pose"], "obb": [CLASSES, "probiou"]}
RECIPE = {"classify": ["kl"], "semantic": ["cwdmap"], "depth": ["depth"]}
for task, terms in TERMS.items():
    if LINE == "8.4":  # two branches and no bins
        RECIPE[task] = [f"{t}/{branch}" for t in terms for branch in ("one2many", "one2one")]
    else:
        RECIPE[task] = terms if task == "obb" else [terms[0], "ld", *terms[1:]]
NC = {"semantic": 4, "depth": 1}


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """`things(task)`: the set, a student's YAML and a teacher's checkpoint, made once."""
    made = {}

    def make(task, name=None):
        name = name or MODELS[task]
        if (task, name) not in made:
            root = tmp_path_factory.mktemp(task)
            cfg = {k: v for k, v in shrink(name, 0.125).items() if k != "yaml_file"}
            cfg |= {"kpt_shape": [3, 3]} if task == "pose" else {}
            save_yaml(root / name.replace("n", "", 1), cfg)
            more = {"kpt_shape": [3, 3]} if task == "pose" else {}
            teacher = build_model(name, NC.get(task, 3), 0.1875, seed=1, trained=True, **more)
            names = {"semantic": ["wall", "red", "green", "blue"], "depth": ["depth"]}.get(
                task, ["red", "green", "blue"]
            )
            teacher.names = dict(enumerate(sorted(names) if task == "classify" else names))
            teacher_pt = save_model(teacher, root / "teacher.pt")
            made[task, name] = draw_set(task, root / "set"), str(root / name.replace("n", "", 1)), str(teacher_pt)
        return made[task, name]

    return make


def test_one_class(things, tmp_path, log):
    """A set of one class, and a teacher that knows it among others."""
    _, student, teacher = things("detect")
    data = draw_set("detect", tmp_path / "set", names=("green",))
    YOLO(student).train(**options(data, tmp_path, model_t=teacher, distill_logit="[relative,giou]"))
    assert [x for x in log() if "compare 1 of 1 classes by name: green (0 <- 1)" in x]
    row = rows(tmp_path)[0]
    parts = [k for k in row if k.startswith(("distill/relative", "distill/giou"))]
    assert len(parts) == (4 if LINE == "8.4" else 2) and all(0 < row[k] < 100 for k in parts)


@pytest.mark.parametrize("task", MODELS)
def test_recipe(task, things, tmp_path):
    """`model_t` and a folder of images: the task's own response terms train on both kinds, what comes out is plain.

    The folder holds no labels of the task, and nothing is written there.
    """
    data, student, teacher = things(task)
    model, folder = YOLO(student), tmp_path / "more/images/train"
    draw_set("detect", tmp_path / "more", train=3, seed=9)
    model.train(**options(data, tmp_path, model_t=teacher, unlabeled=str(folder)))
    row, unlabeled = rows(tmp_path)[0], model.trainer.distill.unlabeled
    assert unlabeled.counts == (2, 2) and unlabeled.drawn == 8
    assert len(list(folder.iterdir())) == 3 and not list((tmp_path / "more").rglob("*.cache"))
    assert all(0 < row[f"distill/{kind}/{part}"] < 100 for kind in ("labeled", "unlabeled") for part in RECIPE[task])
    more = ("distill/margin", "distill/weight", "distill/labeled", "distill/unlabeled")
    parts = [k for k in row if k.startswith("distill/") and not k.startswith(more)]
    assert parts == [f"distill/{p}" for p in RECIPE[task]] and "train/dfea_loss" not in row
    assert all(0 < row[k] < 100 for k in parts)
    shares = {"one2many": 1.6, "one2one": 0.4}  # of an end-to-end criterion's first epoch, 1 on average
    given = {**{WITHOUT_BINS.get(k, k): v for k, v in RESPONSES[task].items()}, **RESPONSES[task]}
    gains = {p: given[p.split("/")[0]] for p in RECIPE[task]}
    values = {p: g * shares.get(p.rpartition("/")[2], 1) * row[f"distill/{p}"] for p, g in gains.items()}
    led = sum(v for p, v in values.items() if p.split("/")[0] in {"relative", "bckd", "ld", "giou"})
    most = sum(values.values())  # what has a margin follows the teacher
    assert 0.999 * (most - led) <= row["train/dlogit_loss"] <= 1.001 * most
    last = tmp_path / "run/weights/last.pt"
    assert "distill" not in torch.load(last, weights_only=False) and YOLO(last).task == task
    assert YOLO(last).predict(torch.rand(1, 3, 64, 64), verbose=False)
