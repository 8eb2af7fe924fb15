# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Terms together: columns, parts, gains, shared classes."""

from __future__ import annotations

import pytest
import torch
from lines import named
from torch import nn

from ultralytics.distill.graph import probe


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
