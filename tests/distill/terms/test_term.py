# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Each term by itself: what it builds, where its gradient goes, and that it learns."""

from __future__ import annotations

import pytest
import torch
from lines import learners
from torch import nn

from ultralytics.distill.arguments import read
from ultralytics.distill.config import Config, Term
from ultralytics.distill.graph import Pair
from ultralytics.distill.heads.classes import Classes
from ultralytics.distill.heads.common import Fit
from ultralytics.distill.losses import FEATURE, RELATION, RESPONSE
from ultralytics.distill.runtime.errors import TermError
from ultralytics.distill.spelling import parameters_of, parse
from ultralytics.distill.terms.term import MapTerm, ResponseTerm, build_loss
from ultralytics.distill.upstream import LINE

SOFTMAX = ("kl", "dist")  # over classes that exclude each other
BOXES = {"relative", "ld", "giou", "l1", "crosskd", "crossld", "crossgiou"}  # what a classifier does not have
OWN = {"mask": "seg", "pose": "pose", "probiou": "obb", "cwdmap": "sem", "depth": "depth"}  # one task's own
TERMS = [("feat", x) for x in FEATURE] + [("logit", x) for x in RESPONSE] + [("rel", x) for x in RELATION]
CASES = [(k, x, "yolov8n.yaml") for k, x in TERMS if x not in {*SOFTMAX, *OWN}]
CASES += [("logit", x, "yolov8n-cls.yaml") for x in RESPONSE if x not in {*BOXES, *OWN}]
CASES += [("logit", x, f"yolo26n-{task}.yaml") for x, task in OWN.items()]
CASES += [("logit", x, f"yolov8n-{OWN[x]}.yaml") for x in ("mask", "pose", "probiou")]
CASES += [("logit", x, "yolo26n-sem.yaml") for x in (*SOFTMAX, "bckd", "bce", "mse")]
CASES += [("logit", x, "yolo26n.yaml") for x in ("relative", "bckd", "giou", "l1", "crosskd", "crossgiou")]
CASES += [("feat", "cwd", "yolov8n-rtdetr.yaml"), ("feat", "at(over=channel)", "yolov8n.yaml")]


class Square(nn.Module):
    """A user's loss without anything but a forward."""

    def __init__(self, k: float = 1.0):
        """Keep a factor."""
        super().__init__()
        self.k = k

    def forward(self, student, teacher, batch):
        """Compare two maps of one width."""
        return self.k * (student - teacher).square().mean()


def unled(name):
    """Return a term's spelling with its weight left alone: the teachers here are ahead of nobody."""
    base, _, rest = name.partition("(")
    led = "margin" in parameters_of(RESPONSE.get(base, nn.Module))
    return f"{base}(margin=0{', ' if rest else ')'}{rest}" if led else name


def alone(make_model, make_step, make_batch, kind, name, yaml, **more):
    """Return a step with one term, its loss on a batch, and the term's own entry in it."""
    student, teacher = make_model(yaml), make_model(yaml, width=0.1875, seed=1, trained=True)
    step = make_step(student, teacher, **{f"distill_{kind}": unled(name), **more})
    batch = make_batch(n=4, task=student.task)  # relations of distances need three images
    *_, columns = step.compute(batch)
    return step, list(columns.values())[-1]


@pytest.mark.parametrize("kind, name, yaml", CASES)
def test_gradient_and_learning(kind, name, yaml, make_model, make_step, make_batch):
    """The term alone reaches the student's first layer, not the teacher, and one step changes the term's own layers."""
    step, term = alone(make_model, make_step, make_batch, kind, name, yaml)
    learns = [m for t in step.distiller.terms for m in t.modules() if list(m.parameters(recurse=False))]
    before = [[p.clone() for p in m.parameters()] for m in learns]
    optimizer = torch.optim.SGD(learners(step).parameters(), lr=10.0)
    assert torch.isfinite(term) and term > 0
    term.backward()
    first = step.student.model[0].conv.weight.grad
    assert torch.isfinite(first).all() and first.abs().sum() > 0
    tails = nn.ModuleList(m for parts in step.teacher.tails.values() for x in parts.values() for m in x)
    frozen = [*step.teacher.model.parameters(), *tails.parameters()]
    assert frozen and all(p.grad is None and not p.requires_grad for p in frozen)
    optimizer.step()
    changed = [any(not torch.equal(a, b) for a, b in zip(m.parameters(), x)) for m, x in zip(learns, before)]
    assert all(changed) if name != "fgd" else any(changed)  # the last layer of fgd's blocks starts at zero


@pytest.mark.parametrize("name", ["cwd", "mgd", "sl2", "crd"])
def test_own_layers_are_parameters(name, make_model, make_distiller):
    """Aligns, generators, projectors and embeddings are what an optimizer finds in the distiller."""
    kind = "distill_rel" if name == "crd" else "distill_feat"
    distiller = make_distiller(make_model(), make_model(width=0.1875), **{kind: name})
    found = {n.split(".")[2] + "." + n.split(".")[4] for n, _ in distiller.named_parameters()}
    own = {"cwd": {"aligns.project"}, "mgd": {"aligns.project", "losses.generator"}, "sl2": {"losses.projector"},
           "crd": {"losses.embed_s", "losses.embed_t"}}  # fmt: skip
    assert found == own[name] and all(p.requires_grad for p in distiller.parameters())


def test_one_to_one_term_trains_its_head_only(make_model, make_step, make_batch):
    """By upstream's design the one-to-one branch sees detached maps: its term trains its own head, no backbone."""
    student, teacher = make_model("yolo26n.yaml"), make_model("yolo26n.yaml", seed=1, trained=True)
    step = make_step(student, teacher, distill_logit="bckd")
    values = []
    step.distiller.terms[0].register_forward_hook(lambda m, args, out: values.extend(out))
    step(make_batch())
    assert step.distiller.parts == ["bckd/one2many", "bckd/one2one"] and len(values) == 2
    values[1].backward()
    head = student.model[-1]
    assert head.one2one_cv3[0][-1].weight.grad.abs().sum() > 0
    assert head.cv3[0][-1].weight.grad is None and student.model[0].conv.weight.grad is None


@pytest.mark.parametrize("name", ["bckd", "bckd(norm=npos)", "bce", "mse", "crosskd"])
@pytest.mark.parametrize("yaml", ["yolov8n.yaml", "yolo26n.yaml"])
def test_hard_targets_take_part(name, yaml, make_model, make_step, make_batch):
    """With `distill_alpha` below 1 the assigner's targets change the value, for every branch, and it stays finite."""
    soft, hard = (alone(make_model, make_step, make_batch, "logit", name, yaml, distill_alpha=a)[1] for a in (1.0, 0.5))
    assert torch.isfinite(hard) and not torch.isclose(soft, hard)


class Unlike(nn.Module):
    """A label assigner that answers in a form of its own."""

    def __init__(self, inner):
        """Wrap upstream's."""
        super().__init__()
        self.inner = inner

    def forward(self, *args):
        """Return a list."""
        return list(self.inner(*args))


@pytest.mark.parametrize("name", ["bckd(alpha=0.5)", "bckd(norm=npos)", "bce(alpha=0)", "crosskd(alpha=0.5)"])
@pytest.mark.parametrize("yaml", ["yolov8n.yaml", "yolo26n.yaml"])
def test_labels_without_an_assigner(name, yaml, make_model, make_distiller, make_step, make_batch):
    """A term that reads labels is refused before training where the criterion assigns none, else at the first batch."""
    student, teacher = make_model(yaml), make_model(yaml, seed=1, trained=True)
    says = rf"'{name.split('(')[0]}.* reads which anchors are labelled, and the student's criterion has no label assign"
    criterion = student.init_criterion()
    step = make_step(student, teacher, distill_logit=name)  # with upstream's all is well
    student.criterion = lambda preds, batch: criterion(preds, batch)
    with pytest.raises(ValueError, match=f"^'distill_logit={says[1:]}"):
        make_distiller(student, teacher, distill_logit=name)
    with pytest.raises(TermError, match=f"the distillation term {says}"):
        step(make_batch())
    student.criterion = criterion
    for part in (getattr(criterion, k, criterion) for k in ("one2many", "one2one")):
        part.assigner = Unlike(part.assigner)
    make_distiller(student, teacher, distill_logit=name)
    with pytest.raises(TermError, match=f"the distillation term {says}"):
        step(make_batch())
    part.assigner = None
    with pytest.raises(ValueError, match=f"^'distill_logit={says[1:]}"):
        make_distiller(student, teacher, distill_logit=name)


def test_labels_that_the_batch_lacks(make_model, make_step, make_batch):
    """A classifier's batch without classes is named, with what would do."""
    step = make_step(
        make_model("yolov8n-cls.yaml"), make_model("yolov8n-cls.yaml", seed=1), distill_logit="kl(alpha=0.5)"
    )
    with pytest.raises(TermError, match=r"'kl' reads labels, and the batch has no 'cls' but \['img'\]; leave"):
        step.distiller.terms[0]._require_labels({"scores": torch.rand(2, 3)}, {"img": 0})


@pytest.mark.parametrize("name", ["bckd", "kl", "dist", "mse"])
@pytest.mark.parametrize("yaml", ["yolov8n-cls.yaml", "yolo26n-sem.yaml"])
def test_hard_targets_without_boxes(name, yaml, make_model, make_step, make_batch):
    """The hard targets of a classifier and of a semantic segmentation are the batch's labels."""
    soft, hard = (alone(make_model, make_step, make_batch, "logit", name, yaml, distill_alpha=a)[1] for a in (1.0, 0.5))
    assert torch.isfinite(hard) and not torch.isclose(soft, hard)


@pytest.mark.parametrize(
    "name, student, teacher",
    [("mask", "yolov8n-seg.yaml", "yolo26n-seg.yaml"), ("pose", "yolo26n-pose.yaml", "yolov8n-pose.yaml"),
     ("probiou", "yolov8n-obb.yaml", "yolo26n-obb.yaml"), ("giou", "yolov8n.yaml", "yolo26n.yaml"),
     ("bckd", "yolov8n.yaml", "yolov8n-seg.yaml")],
)  # fmt: skip
def test_unlike_heads(name, student, teacher, make_model, make_step, make_batch):
    """Decoded outputs of heads of unlike families and tasks compare, each with bins and prototypes of its own."""
    student, teacher = make_model(student), make_model(teacher, width=0.1875, seed=1, trained=True)
    *_, columns = make_step(student, teacher, distill_logit=unled(name)).compute(make_batch(task=student.task))
    assert columns["dlogit_loss"] > 0
    columns["dlogit_loss"].backward()
    assert student.model[0].conv.weight.grad.abs().sum() > 0


@pytest.mark.skipif(LINE == "8.3", reason="8.3 has one number of bins")
@pytest.mark.parametrize("bins", [8, 24])
def test_bins_in_other_number(bins, make_model, make_step, make_batch):
    """A teacher of fewer or more bins teaches those of the student, a teacher of larger images too."""
    student, teacher = make_model(), make_model(seed=1, trained=True, reg_max=bins)
    assert teacher.model[-1].reg_max == bins
    for size in (64, 96):
        step = make_step(student, teacher, distill_logit="ld(margin=0)", distill_imgsz=size)
        *_, columns = step.compute(make_batch())
        assert columns["dlogit_loss"] > 0
        columns["dlogit_loss"].backward()
        assert student.model[-1].cv2[0][-1].weight.grad.abs().sum() > 0


def term(kind, text, **more):
    """Build a loss from its spelling."""
    spelled = parse(f"distill_{kind}", text, {**FEATURE, **RESPONSE, **RELATION})
    return build_loss(Term(kind, spelled), Config(**more), (4, 6))


def test_run_wide_parameters():
    """`distill_tau` and `distill_alpha` reach the losses that have them; brackets win; widths are filled in."""
    assert term("feat", "cwd").tau == 1 and term("feat", "cwd", tau=3.0).tau == 3
    assert term("feat", "cwd(tau=2)", tau=3.0).tau == 2 and not hasattr(term("feat", "mimic", tau=3.0), "tau")
    assert term("logit", "bckd", alpha=0.25).alpha == 0.25 and term("logit", "bckd(alpha=1)", alpha=0.25).alpha == 1
    assert term("feat", "mgd").generator[0].in_channels == 6
    assert [x.in_features for x in (term("rel", "crd").embed_s, term("rel", "crd").embed_t)] == [4, 6]


@pytest.mark.parametrize("text, says", [("cwd(tau=-1)", "'tau=-1' must be a finite number above 0"),
                                        ("mimic(p=3)", "p=3"),
                                        ("mgd(lambda_mgd=a)", "'lambda_mgd=a' must be a finite number")])  # fmt: skip
def test_refused_parameters(text, says):
    """What a constructor refuses is said in one line, with the argument and its value."""
    with pytest.raises(ValueError, match=rf"distill_feat={text.split('(')[0]}\(.*cannot be built: .*{says}") as e:
        term("feat", text)
    assert "\n" not in str(e.value)


def test_users_loss(make_model, make_distiller):
    """A class, an instance and a spelling work wherever a name does; maps come aligned; instances are not shared."""
    factors = []
    for item in (Square, Square(k=2), f"{__name__}:Square(k=3)"):
        distiller = make_distiller(make_model(), make_model(width=0.1875), distill_feat=[item])
        t = distiller.terms[0]
        assert distiller.parts == ["Square/P3", "Square/P4", "Square/P5"]
        assert [x.project.out_channels for x in t.aligns] == [48, 96, 192]
        assert len({id(x) for x in t.losses}) == 3
        factors.append({x.k for x in t.losses})
    assert factors == [{1.0}, {2}, {3}] and t.formula == "1 x Square(k=3)"


def test_relations_need_no_alignment(make_model, make_distiller):
    """Relations compare images, not channels: nothing is projected."""
    distiller = make_distiller(make_model(), make_model(width=0.1875), distill_rel=["sp", "rkd", Square])
    assert not list(distiller.parameters())


def test_map_term_takes_the_named_layers():
    """Each loss sees the maps of its own pair, in the pairs' order."""
    pairs = [Pair(4, 6, (2, 2), (8.0, 8.0), "4-6"), Pair(2, 2, (3, 3), (4.0, 4.0), "2")]
    t = MapTerm(Term("feat", parse("distill_feat", Square, {})), Config(), pairs)
    seen = type("Seen", (), {})
    s, u = seen(), seen()
    s.maps = {2: torch.zeros(1, 3, 4, 4), 4: torch.zeros(1, 2, 2, 2)}
    u.maps = {2: torch.ones(1, 3, 4, 4), 6: torch.full((1, 2, 2, 2), 2.0)}
    assert [v.item() for v in t(s, u, {})] == [4, 1] and t.parts == ["4-6", "2"]


def test_response_term_selects_classes(make_args):
    """Only the common classes are compared, each with its namesake."""
    config = read(make_args(distill_feat="none", distill_logit="mse"))
    t = ResponseTerm(config.terms[0], config, Fit(["one2many"], Classes([0, 2], [2, 0])))
    s, u = torch.rand(4, 3), torch.rand(4, 5)
    value = t({"one2many": {"scores": s}}, {"one2many": {"scores": u}}, {})[0]
    assert torch.isclose(value, (s[:, [0, 2]] - u[:, [2, 0]]).square().mean() / 4)
    assert not t.state_dict()  # the map follows from the models, not from a checkpoint


def test_response_term_merges_classes(make_args):
    """With `single_cls` the student's one class is compared with the teacher's most confident at each anchor."""
    config = read(make_args(distill_feat="none", distill_logit="bckd"))
    t = ResponseTerm(config.terms[0], config, Fit(["one2many"], Classes([0], [0, 1, 2], merge=True)))
    s, u = torch.randn(2, 1, 6), torch.randn(2, 3, 6)
    levels = {"shapes": [(2, 3)], "strides": [8.0]}
    value = t({"one2many": {"scores": s, **levels}}, {"one2many": {"scores": u, **levels}}, {})[0]
    expected = t.losses[0]({"scores": s}, {"scores": u.max(1, keepdim=True).values}, {})
    assert torch.equal(value, expected)


def test_labels_of_classes_that_are_compared(make_args):
    """A classifier's labels follow the classes; an image of a class left out has the teacher's word alone."""
    config = read(make_args(distill_feat="none", distill_logit="kl", distill_alpha=0.5))
    t = ResponseTerm(config.terms[0], config, Fit(["one2many"], Classes([2, 0], [0, 1])), count=3)
    s, u, hard = torch.randn(2, 3), torch.randn(2, 2), torch.tensor([[0.0, 1.0], [float("nan")] * 2])
    value = t({"one2many": {"scores": s}}, {"one2many": {"scores": u}}, {"cls": torch.tensor([0, 1])})[0]
    expected = t.losses[0]({"scores": s[:, [2, 0]], "target_scores": hard}, {"scores": u}, {})
    assert torch.equal(value, expected) and value.isfinite()
