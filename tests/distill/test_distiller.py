# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Terms together: columns, parts, gains, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from lines import named
from torch import nn

from ultralytics.distill.arguments import read
from ultralytics.distill.distiller import Distiller
from ultralytics.distill.graph import probe
from ultralytics.distill.losses import BCE
from ultralytics.distill.unused_arguments import warn_of_skipped


class LossOfMine(nn.Module):
    """A user's loss whose name upstream's plot would take for a loss column."""

    def forward(self, student, teacher, batch):
        """Compare two maps."""
        return (student - teacher).abs().mean()


@pytest.fixture(scope="module")
def models(make_model):
    """A student and a wider teacher of one family, not to be changed."""
    return make_model(), make_model(width=0.1875, seed=1, trained=True)


def test_columns_and_parts(models, make_distiller):
    """A column for each kind of term, a part for each pair and branch; a term given twice is numbered."""
    d = make_distiller(*models, distill_feat="[cwd,mgd,cwd(tau=2)]", distill_logit="[bce,mse]", distill_rel="sp")
    assert d.columns == ["dfea_loss", "dlogit_loss", "drel_loss"]
    maps = [f"{name}/P{i}" for name in ("cwd", "mgd", "cwd2", "sp") for i in (3, 4, 5)]
    assert d.parts == [*maps, "bce", "mse"]
    assert d.layers == ([15, 18, 21], [15, 18, 21]) and d.needs_head and not d.needs_features and not d.needs_targets
    assert all(make_distiller(*models, distill_logit=x).needs_targets for x in ("ld", "bckd"))  # for their weight


def test_parts_of_hand_given_layers(models, make_distiller):
    """Pairs by hand are named by their indices; the layers to watch are listed once, in order."""
    d = make_distiller(*models, distill_feat="cwd", distill_layers=[[18, 18], [15, 18], [4, 6]])
    assert d.parts == ["cwd/18", "cwd/15-18", "cwd/4-6"]
    assert d.layers == ([4, 15, 18], [6, 18]) and not d.needs_head


def test_branches_are_parts(make_model, make_distiller):
    """A response term between end-to-end heads has a part for each branch, a mixed pair compares one2many alone."""
    dual, single = make_model("yolo26n.yaml"), make_model()
    assert make_distiller(dual, dual, distill_logit="bckd").parts == ["bckd/one2many", "bckd/one2one"]
    assert make_distiller(dual, single, distill_logit="bckd").parts == ["bckd"]
    assert make_distiller(single, dual, distill_logit="bckd").parts == ["bckd"]


def test_no_part_is_called_loss(models, make_distiller):
    """Upstream plots every column whose name contains "loss"; the parts' columns are not for that plot."""
    assert make_distiller(*models, distill_feat=LossOfMine).parts[0] == "LossOfMine/P3"
    LossOfMine.__name__ = LossOfMine.__qualname__ = "my_loss"
    globals()["my_loss"] = LossOfMine
    parts = make_distiller(*models, distill_feat=f"{__name__}:my_loss", distill_logit="bckd").parts
    assert parts == ["my_term/P3", "my_term/P4", "my_term/P5", "bckd"]


def test_gains_weigh_columns_not_parts(make_model, make_step, make_batch):
    """A column is the sum of its terms' parts times their gains; parts stay unweighted."""
    c = make_step(make_model(), make_model(seed=1), distill_feat="[cwd,mimic]", distill_logit="bce", dfea=[2, 0.5],
                       dlogit=3)  # fmt: skip
    items = named(c, c(make_batch())[1])
    parts = list(c.take_means().values())
    assert items["dfea_loss"].item() == pytest.approx(2 * sum(parts[:3]) + 0.5 * sum(parts[3:6]), rel=1e-5)
    assert items["dlogit_loss"].item() == pytest.approx(3 * parts[6], rel=1e-5) and len(parts) == 7


def test_terms_ignore_autocast(make_model, make_step, make_batch):
    """All terms are computed in fp32, whatever precision the student trains in."""
    c = make_step(make_model(), make_model(seed=1), distill_feat="cwd", distill_logit="bckd")
    seen = []
    for t in c.distiller.terms:
        t.losses[0].register_forward_hook(
            lambda m, args, out: seen.append((torch.is_autocast_enabled("cpu"), out.dtype))
        )
    with torch.autocast("cpu", torch.bfloat16):
        loss, items = c(make_batch())
    assert seen == [(False, torch.float32)] * 2 and named(c, items)["dfea_loss"].dtype == torch.float32
    loss.sum().backward()


def test_it_owns_neither_model(models, make_distiller):
    """Its parameters, buffers and state are the aligns' and losses' own."""
    d = make_distiller(*models, distill_feat="[cwd,mgd]", distill_logit="bce")
    of_models = {id(p) for m in models for p in (*m.parameters(), *m.buffers())}
    assert not of_models & {id(p) for p in (*d.parameters(), *d.buffers())}
    assert all(k.startswith("terms.") and (".aligns." in k or ".generator." in k) for k in d.state_dict())


@pytest.mark.parametrize(
    "student, teacher, name, says",
    [
        ("yolov8n.yaml", "yolov8n-rtdetr.yaml", "bckd", "Detect and RTDETRDecoder do not compare"),
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
    """What the recipe chose and these heads cannot serve is skipped, with the reason; detectors have `pseudo`."""
    dual, classifier, detr = (make_model(n) for n in ("yolo26n.yaml", "yolov8n-cls.yaml", "yolov8n-rtdetr.yaml"))
    none = ["relative", "ld", "giou"]
    cases = (dual, ["ld", "cwd"], ["bckd", "giou"]), (classifier, none, ["cwd"]), (detr, none, ["cwd", "pseudo"])
    for model, left, kept in cases:
        d = make_distiller(model, model, distill_feat="auto", distill_logit="auto")
        assert [x.partition(" (")[0] for x in d.skipped] == left and not any("skipping" in x for x in log())
        assert list(dict.fromkeys(p.split("/")[0] for p in d.parts)) == kept
        assert d.columns == ["dfea_loss"] * (model is not dual) + ["dlogit_loss"] * (model is not classifier)


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


@pytest.mark.parametrize(
    "student, given, says",
    [
        ("yolo26n.yaml", {"distill_tau": 2}, "'distill_tau=2' reaches none of the terms that fit the two models"),
        ("yolov8n-rtdetr.yaml", {"distill_tau": 2, "distill_feat": "none"}, "'distill_tau=2' reaches none"),
        ("yolo26n.yaml", {"distill_alpha": 0.5}, ""),  # pseudo has one
        ("yolov8n.yaml", {"distill_tau": 2}, ""),
    ],
)
def test_what_was_for_skipped_terms_is_named(student, given, says, make_model, make_args, log):
    """A temperature that only skipped terms of the recipe have is said to do nothing."""
    args = make_args(**given)
    config = read(args)
    warn_of_skipped(args, [config], Distiller(config, make_model(student), make_model()))
    assert [says in x for x in log() if "do nothing" in x] == [True] * bool(says)


def test_nothing_fits(make_model, make_distiller):
    """A recipe of which nothing is left is refused, with the arguments that would help."""
    student, teacher = make_model(), make_model("yolov8n-cls.yaml")
    with pytest.raises(ValueError, match="model_t.*'distill_feat', 'distill_logit' or 'distill_rel'"):
        make_distiller(student, teacher, distill_logit="auto")


def test_classes_are_mapped_by_name(make_model, make_step, make_batch, log):
    """Models with other classes are compared on those that both know: equal logits of namesakes give no difference."""
    student, teacher = (make_model(seed=3, trained=True).eval() for _ in range(2))
    head = teacher.model[-1]
    for level in head.cv3:  # the same detector with its classes in another order
        for x in level[-1].parameters():
            x.data = x.data[[2, 0, 1]]
    teacher.names = {0: "STRIPE", 1: "circle ", 2: "square"}
    c = make_step(student, teacher, distill_logit="mse")
    c.checked = True  # equality is what is expected here
    c.student.eval().training = True  # BatchNorm as in the teacher
    assert named(c, c(make_batch())[1])["dlogit_loss"].item() < 1e-9
    teacher.names = {0: "circle", 1: "square", 2: "stripe"}
    assert make_step(student, teacher, distill_logit="mse").distiller.terms[0].index_s is None  # nothing is copied
    c = make_step(student, teacher, distill_logit="mse")
    c.student.eval().training = True
    assert named(c, c(make_batch())[1])["dlogit_loss"].item() > 1e-4
    assert [x for x in log() if "compare 3 of 3 classes by name: circle (0 <- 1), square (1 <- 2)" in x]


def test_the_map_is_reported_once(make_model, make_distiller, log):
    """However many terms compare classes, one line says which; where nothing is left out, there is none."""
    student, teacher = make_model(), make_model(nc=80)
    teacher.names = {**teacher.names, 7: "Square"}
    make_distiller(student, teacher, distill_logit="[bckd,ld,giou]")
    (line,) = [x for x in log() if "by name" in x]
    assert line == "Distillation: the logit distillation losses compare 1 of 3 classes by name: square (1 <- 7)"
    log.clear()
    make_distiller(student, student, distill_logit="[bckd,ld]")
    assert not [x for x in log() if "by name" in x]


def test_no_common_class(make_model, make_distiller):
    """Where no name is shared a response term is refused, a feature term is not."""
    s, t = make_model(), make_model(nc=2)
    t.names = {0: "cat", 1: "dog"}
    with pytest.raises(ValueError, match=r"distill_logit=bckd': no class name is shared.*circle.*\['cat', 'dog'\]"):
        make_distiller(s, t, distill_logit="bckd")
    assert make_distiller(s, t, distill_feat="cwd").columns == ["dfea_loss"]


def test_formula_names_terms_and_parameters(models, make_distiller):
    """What is printed at the start shows each term with its gain and its parameters."""
    d = make_distiller(*models, distill_feat="cwd", distill_logit="bckd(beta=2)", dfea=0.5)
    assert d.describe() == "0.5 x cwd(tau=1, norm=batch) + 1 x bckd(beta=2, norm=conf, alpha=1, margin=0.03)"


def test_building_leaves_the_models_alone(models, make_distiller):
    """Pairing and building change no number and no mode in either model."""
    before = [{k: v.clone() for k, v in m.state_dict().items()} for m in models]
    modes = [[x.training for x in m.modules()] for m in models]
    make_distiller(*models, distill_feat="[cwd,sl2]", distill_logit="[bckd,crosskd]", distill_rel="crd")
    assert modes == [[x.training for x in m.modules()] for m in models]
    assert all(torch.equal(v, b[k]) for m, b in zip(models, before) for k, v in m.state_dict().items())
    assert probe(models[0], [15])
