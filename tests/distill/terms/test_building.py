# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Which terms are built for two models: what fits their heads, what the recipe takes, leaves out, and says of it."""

from __future__ import annotations

import pytest
import torch

from ultralytics.distill.arguments import read
from ultralytics.distill.distiller import Distiller
from ultralytics.distill.losses import BCE
from ultralytics.distill.unused_arguments import warn_of_skipped


@pytest.mark.parametrize(
    "student, teacher, name, says",
    [
        ("yolov8n-rtdetr.yaml", "yolov8n.yaml", "bckd", "RTDETRDecoder and Detect do not compare"),
        ("yolov8n.yaml", "yolov8n-rtdetr.yaml", "crosskd", "through layers of the teacher's head, of which boxes"),
        ("yolov8n.yaml", "yolov8n-cls.yaml", "bckd", "Detect and Classify do not compare"),
        ("yolo26n.yaml", "yolo26n.yaml", "ld", "needs DFL bins, the student has 1"),
        ("yolov8n.yaml", "yolo26n.yaml", "ld", "needs DFL bins, the student has 16 and the teacher 1"),
        ("yolov8n.yaml", "yolo26n.yaml", "mse", "equal box outputs, the student has 16 bins and the teacher 1"),
        ("yolov8n.yaml", "yolov8n.yaml", "kl", "softmax over classes.*use relative or bckd"),
        ("yolov8n.yaml", "yolov8n.yaml", "dist(tau=2)", "softmax over classes.*use relative or bckd"),
        ("yolov8n-cls.yaml", "yolov8n-cls.yaml", "ld", "needs boxes, which Classify does not predict"),
        ("yolov8n-cls.yaml", "yolov8n-cls.yaml", "giou", "needs boxes, which Classify does not"),
        ("yolov8n-cls.yaml", "yolov8n-cls.yaml", "crosskd", "needs boxes, which Classify does not"),
        ("yolov8n.yaml", "yolov8n-seg.yaml", "mask", "needs masks, which Detect does not predict"),
        ("yolov8n-pose.yaml", "yolov8n.yaml", "pose", "needs keypoints, which Detect does not predict"),
        ("yolov8n.yaml", "yolo26n.yaml", "crossld", "needs DFL bins, the student has 16 and the teacher 1"),
        ("yolov8n.yaml", "yolov8n-obb.yaml", "crossgiou", "upright boxes, and these are rotated"),
        ("yolov8n-obb.yaml", "yolov8n.yaml", "crossld", "upright boxes, and these are rotated"),
        ("yolo26n-sem.yaml", "yolo26n-sem.yaml", "crossgiou", "needs boxes, which SemanticSegment does not predict"),
        ("yolov8n-obb.yaml", "yolov8n-obb.yaml", "giou", "upright boxes, and these are rotated; use probiou"),
        ("yolov8n-obb.yaml", "yolov8n-obb.yaml", "ld", "upright boxes, and these are rotated; use probiou"),
        ("yolov8n-obb.yaml", "yolov8n-obb.yaml", "ld(margin=0)", "upright boxes, and these are rotated; use probiou"),
        ("yolov8n-obb.yaml", "yolov8n-obb.yaml", "mse", "upright boxes, and these are rotated; use probiou"),
        ("yolov8n.yaml", "yolov8n-obb.yaml", "ld", "upright boxes, and these are rotated; use probiou"),
        ("yolov8n.yaml", "yolov8n.yaml", "probiou", "needs angles, which Detect does not predict"),
        ("yolo26n-sem.yaml", "yolo26n-sem.yaml", "ld", "needs boxes, which SemanticSegment does not predict"),
        ("yolo26n-sem.yaml", "yolov8n-cls.yaml", "kl", "SemanticSegment and Classify do not compare"),
        ("yolo26n-depth.yaml", "yolo26n-depth.yaml", "bckd", "needs classes, which Depth does not predict"),
    ],
)
def test_response_terms_that_do_not_fit(student, teacher, name, says, make_model, make_distiller):
    """A response term that the user named and these heads cannot serve is refused at the start, by name."""
    with pytest.raises(ValueError, match=rf"'distill_logit={name.split('(')[0]}.*': .*{says}"):
        make_distiller(make_model(student), make_model(teacher), distill_logit=name)


@pytest.mark.parametrize(
    "needs, says",
    [({"bins": "equal"}, "equal box outputs"), ({"bins": "dfl"}, "equal DFL bins"), ({"exclusive": True}, "a softmax")],
)
def test_a_users_loss_says_what_it_needs(needs, says, make_model, make_distiller):
    """What our own losses refuse, a user's can refuse by the same class attributes."""
    picky = type("Picky", (BCE,), {**needs, "__module__": "picky"})
    with pytest.raises(ValueError, match=rf"'distill_logit=picky:Picky': it .*{says}"):
        make_distiller(make_model("yolov8n.yaml"), make_model("yolo26n.yaml"), distill_logit=picky)


@pytest.mark.parametrize(
    "more, parts",
    [
        ({}, []),
        ({"distill_logit": "none"}, ["P3", "P4", "P5"]),
        ({"distill_layers": [[15, 15]]}, ["15"]),
        ({"classes": [0]}, []),
    ],
)
def test_when_the_recipe_compares_maps(more, parts, make_model, make_distiller):
    """Not where predictions teach every class that is trained; without them, and at layers that the user names."""
    models = make_model(), make_model(seed=1, trained=True)
    d = make_distiller(*models, **{"distill_feat": "auto", "distill_logit": "auto", **more})
    assert [p for p in d.parts if p.startswith("cwd")] == [f"cwd/{p}" for p in parts]
    assert any(x.startswith("cwd (the logit distillation losses teach all classes; name it") for x in d.skipped) == (
        not parts
    )


def test_the_recipe_compares_maps_where_classes_lack(make_model, make_distiller):
    """A teacher that knows two of three classes teaches by its maps too."""
    student, teacher = make_model(), make_model(seed=1, trained=True)
    student.names, teacher.names = {0: "a", 1: "b", 2: "c"}, {0: "b", 1: "c", 2: "d"}
    parts = make_distiller(student, teacher, distill_feat="auto", distill_logit="auto").parts
    assert parts == ["cwd/P3", "cwd/P4", "cwd/P5", "relative", "ld", "giou"]


def test_heads_without_a_common_level(make_model, make_distiller):
    """Predictions of heads that share no stride do not compare, and the message shows both."""
    s, t = make_model(), make_model()
    t.model[-1].stride = torch.tensor([4.0, 64.0])
    with pytest.raises(ValueError, match=r"distill_logit=bce': .*\[8.0, 16.0, 32.0\], the teacher \[4.0, 64.0\]"):
        make_distiller(s, t, distill_logit="bce")


@pytest.mark.parametrize(
    "teacher, layers, says",
    [("yolov8n-rtdetr.yaml", "auto", r"RTDETRDecoder has them at strides \[\]"),
     ("yolov8n-cls.yaml", "auto", r"Classify has them at strides \[\]"),
     ("yolov8n.yaml", [2], r"strides \[8.0, 16.0, 32.0\], layer 2 has stride 4")],
)  # fmt: skip
def test_scores_that_the_teacher_does_not_have(teacher, layers, says, make_model, make_distiller):
    """A feature term weighted by the teacher's scores says where they are missing."""
    with pytest.raises(ValueError, match=f"distill_feat=sl2.*{says}"):
        make_distiller(make_model(), make_model(teacher), distill_feat="sl2", distill_layers=layers)


def test_recipe_leaves_out_what_does_not_fit(make_model, make_distiller, log):
    """What the recipe chose and these heads cannot serve is skipped, with the reason."""
    dual, classifier, detr = (make_model(n) for n in ("yolo26n.yaml", "yolov8n-cls.yaml", "yolov8n-rtdetr.yaml"))
    none = ["relative", "ld", "giou"]
    cases = (dual, ["ld", "cwd"], ["bckd", "giou"]), (classifier, none, ["cwd"]), (detr, [*none, "pseudo"], ["cwd"])
    for model, left, kept in cases:
        d = make_distiller(model, model, distill_feat="auto", distill_logit="auto")
        assert [x.partition(" (")[0] for x in d.skipped] == left and not any("skipping" in x for x in log())
        assert list(dict.fromkeys(p.split("/")[0] for p in d.parts)) == kept
        assert d.columns == ["dfea_loss"] * (model is not dual) + ["dlogit_loss"] * (model is dual)


@pytest.mark.parametrize(
    "logit, feat, parts",
    [
        ("auto", "none", {"pseudo"}),
        ("pseudo", "auto", {"cwd", "pseudo"}),
        ("[auto,pseudo]", "auto", {"cwd", "pseudo"}),
        ("none", "auto", {"cwd"}),
    ],
)
def test_rtdetr_has_final_boxes_where_asked_or_alone(logit, feat, parts, make_model, make_distiller, log):
    """Maps alone teach it more; `pseudo` is there where it was named, and where there are no maps, with a warning."""
    d = make_distiller(make_model("yolov8n-rtdetr.yaml"), make_model(), distill_feat=feat, distill_logit=logit)
    assert {p.split("/")[0] for p in d.parts} == parts and not any("pseudo (" in x for x in d.skipped)
    assert any("worse than a plain training" in x for x in log()) == (feat == "none")


def test_the_recipes_class_term_goes_by_the_students_bins(make_model, make_distiller):
    """A student with bins has `relative`, from whichever teacher; one without has `bckd`, unless a user names it."""
    student, bare = make_model("yolov10n.yaml"), make_model("yolo26n.yaml")
    assert make_distiller(student, bare, distill_logit="auto").parts[0].split("/")[0] == "relative"
    assert make_distiller(bare, student, distill_logit="auto").parts[0].split("/")[0] == "bckd"
    assert make_distiller(bare, student, distill_logit="relative").parts[0].split("/")[0] == "relative"


@pytest.mark.parametrize("name", ["yolov10n.yaml", "yolo26n.yaml"])
def test_a_one_to_one_head_learns_from_a_teacher_without_one(name, make_model, make_distiller):
    """Final boxes are the whole recipe there, beside what a user names; a teacher that has the head teaches by it."""
    student, teacher = make_model(name), make_model()
    auto = {"distill_feat": "auto", "distill_logit": "auto"}
    alone = make_distiller(student, teacher, **auto)
    assert alone.parts == ["pseudo"] and "no one-to-one head" in alone.skipped[0]
    assert make_distiller(student, teacher, **{**auto, "distill_logit": "[auto,giou]"}).parts == ["giou", "pseudo"]
    assert "pseudo" not in make_distiller(student, make_model(name), **auto).parts
    assert "pseudo" not in make_distiller(make_model(), student, **auto).parts
    other = make_model()
    other.names = {i: f"other {i}" for i in other.names}
    assert "pseudo" not in make_distiller(student, other, **auto).parts


def test_final_boxes_in_place_of_the_recipe_have_the_given_gain(make_model, make_distiller):
    """What the recipe of a task multiplies its own terms by does not weigh the one that takes their place."""
    student, teacher = make_model("yolo26n-pose.yaml"), make_model("yolov8n-pose.yaml")
    for gain in (1, 3):
        args = {"task": "pose", "distill_logit": "auto", "dlogit": gain}
        (term,) = make_distiller(student, teacher, **args).terms
        assert term.name == "pseudo" and term.gain == gain


@pytest.mark.parametrize(
    "student, given, says",
    [
        ("yolo26n.yaml", {"distill_tau": 2}, "'distill_tau=2' reaches none of the terms that fit the two models"),
        ("yolov8n-rtdetr.yaml", {"distill_tau": 2, "distill_feat": "none"}, "'distill_tau=2' reaches none"),
        ("yolov8n-rtdetr.yaml", {"dlogit": 2}, "'dlogit=2' reaches none of the terms that fit the two models"),
        ("yolov8n-rtdetr.yaml", {"dlogit": 2, "distill_feat": "none"}, ""),  # pseudo is there
        ("yolov8n.yaml", {"dlogit": 2}, ""),
        ("yolo26n.yaml", {"distill_alpha": 0.5}, ""),  # pseudo has one
        ("yolov8n.yaml", {"distill_tau": 2}, ""),
    ],
)
def test_what_was_for_skipped_terms_is_named(student, given, says, make_model, make_args, log):
    """A gain or a temperature that only skipped terms of the recipe have is said to do nothing."""
    args = make_args(**given)
    config = read(args)
    warn_of_skipped(args, [config], Distiller(config, make_model(student), make_model()))
    assert [says in x for x in log() if "do nothing" in x] == [True] * bool(says)


def test_nothing_fits(make_model, make_distiller):
    """A recipe of which nothing is left is refused, with the arguments that would help."""
    student, teacher = make_model(), make_model("yolov8n-cls.yaml")
    with pytest.raises(ValueError, match="model_t.*'distill_feat', 'distill_logit' or 'distill_rel'"):
        make_distiller(student, teacher, distill_logit="auto")
