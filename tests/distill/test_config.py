# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The arguments of a distilled run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lines import needs_84
from torch import nn

from ultralytics.distill.arguments import read
from ultralytics.distill.losses import CWD
from ultralytics.distill.teacher.several import read_each
from ultralytics.distill.unused_arguments import warn_beside_teacher, warn_without_teacher


class Plain(nn.Module):
    """A user's loss."""

    def __init__(self, k: float = 1.0):
        """Keep the parameter."""
        super().__init__()
        self.k = k


def names(config):
    """Return (kind, name, gain) of each term."""
    return [(t.kind, t.spelled.name, t.gain) for t in config.terms]


def test_a_teacher_alone_is_the_recipe(make_args):
    """`model_t` needs no other argument: the recipe's terms and gains, constant weight to the end."""
    c = read(make_args())
    assert names(c) == [("feat", "cwd", 1), ("logit", "relative", 1), ("logit", "ld", 4), ("logit", "giou", 4)]
    assert all(t.auto for t in c.terms) and c.columns == ["dfea_loss", "dlogit_loss"]
    assert (c.layers, c.tau, c.alpha, c.schedule.name, c.stop, c.precision) == ("auto", None, 1, "constant", 0, "auto")


def test_kinds_come_in_a_fixed_order(make_args):
    """Feature, response and relation terms; only the columns in use."""
    c = read(make_args(distill_rel="sp", distill_feat="[mgd,cwd]", distill_logit="none"))
    assert names(c) == [("feat", "mgd", 1), ("feat", "cwd", 1), ("rel", "sp", 1)]
    assert c.columns == ["dfea_loss", "drel_loss"] and not any(t.auto for t in c.terms)


@pytest.mark.parametrize(
    "gain, gains", [(2, [2, 2]), (0, [0, 0]), ("2.5", [2.5, 2.5]), ([1, 0.5], [1, 0.5]), ("[1, 0.5]", [1, 0.5]),
                    ((3, 4), [3, 4])]
)  # fmt: skip
def test_gains(gain, gains, make_args):
    """One number holds for every term of its kind, a list (also as text) gives one to each."""
    c = read(make_args(distill_feat=["cwd", "mgd"], distill_logit="bce", dfea=gain))
    assert [t.gain for t in c.terms] == [*gains, 1]


def test_one_gain_scales_the_recipe(make_args):
    """A plain gain multiplies the recipe's terms too."""
    assert [t.gain for t in read(make_args(dlogit=3)).terms] == [1, 3, 12, 12]


@pytest.mark.parametrize(
    "overrides, says",
    [
        ({"distill_feat": "[cwd,mgd]", "dfea": [1, 2, 3]}, r"dfea=\[1, 2, 3\]' has 3 gains for 2"),
        ({"distill_feat": "cwd", "dfea": []}, "0 gains for 1"),
        ({"dlogit": [1, 2]}, "one number"),
        ({"dfea": -1}, "dfea=-1' must be a finite number of at least 0"),
        ({"dfea": "much"}, "dfea=much' must be"),
        ({"distill_feat": "cwd", "dfea": [float("nan")]}, "dfea=nan' must be"),
        ({"drel": float("inf"), "distill_rel": "sp"}, "drel=inf' must be"),
        ({"dlogit": True}, "dlogit=True' must be"),
        ({"dlogit": None}, "dlogit=None' must be"),
        ({"distill_tau": 0}, "distill_tau=0' must be a finite number above 0"),
        ({"distill_tau": float("nan")}, "distill_tau=nan"),
        ({"distill_tau": "hot"}, "distill_tau=hot"),
        ({"distill_alpha": 1.1}, "distill_alpha=1.1' must be a finite number of at least 0 and at most 1"),
        ({"distill_alpha": -0.1}, "distill_alpha=-0.1"),
        ({"distill_stop": -1}, "distill_stop=-1"),
        ({"distill_stop": 1.5}, "distill_stop=1.5' must be a whole number"),
        ({"distill_precision": "int8"}, "distill_precision=int8' is unknown; choose from auto, fp32, bf16, fp16"),
        ({"distill_schedule": "step"}, "distill_schedule=step' is unknown; choose from constant"),
        ({"distill_schedule": None}, "distill_schedule=None"),
        ({"distill_feat": "kl"}, "distill_feat=kl' is a response term; give it in 'distill_logit'"),
        ({"distill_rel": "CWD(tau=2)"}, r"distill_rel=CWD\(tau=2\)' is a feature term; give it in 'distill_feat'"),
        ({"distill_rel": "ss"}, "distill_rel=ss' is unknown; choose from sp, rkd, crd"),
        ({"distill_feat": "[auto,Auto]"}, r"distill_feat=\[auto,Auto\]' names auto twice"),
        ({"distill_feat": "[auto,pkd]", "dfea": [1, 2, 3]}, "has 3 gains for 2"),
        ({"dfea": 0, "dlogit": 0}, "'dfea=0' and 'dlogit=0' leave nothing to distil; give a gain above 0"),
        ({"distill_feat": "cwd", "distill_logit": "none", "dfea": [0]}, r"'dfea=\[0\]' leave nothing to distil"),
        ({"distill_stop": 100}, "distill_stop=100' leaves the teacher none of 'epochs=100'; give fewer"),
        ({"distill_stop": 9, "epochs": 3}, "distill_stop=9' leaves the teacher none of 'epochs=3'"),
        ({"distill_online": "maybe"}, "distill_online=maybe' is unknown; choose from False, True"),
        ({"distill_imgsz": "wide"}, "distill_imgsz=wide' must be a whole number of pixels"),
        ({"distill_imgsz": 64.5}, "distill_imgsz=64.5' must be a whole number of pixels"),
        (
            {"distill_feat": nn.L1Loss()},
            r"L1Loss.*its forward takes \(input, target\), not \(student, teacher, batch\)",
        ),
        ({"distill_feat": "torch.nn:MSELoss"}, r"'distill_feat=torch.nn:MSELoss': its forward takes \(input, target\)"),
    ],
)
def test_out_of_range(overrides, says, make_args):
    """One sentence names the argument, its value and what would do."""
    with pytest.raises(ValueError, match=says) as e:
        read(make_args(**overrides))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("off", ["none", None, False, []])
def test_everything_off_is_an_error(off, make_args):
    """A teacher with nothing to teach is refused, and the message names all three switches."""
    with pytest.raises(ValueError, match="model_t=teacher.pt.*distill_feat.*distill_logit.*distill_rel"):
        read(make_args(distill_feat=off, distill_logit=off, distill_rel=off))


def test_a_live_teacher_is_one_line_of_a_sentence(make_args):
    """A model that is refused with the arguments does not fill the screen with its layers."""
    off = {"distill_feat": "none", "distill_logit": "none"}
    with pytest.raises(ValueError) as error:
        read(make_args(model_t=nn.Sequential(*(nn.Linear(9, 9) for _ in range(99))), **off))
    assert "\n" not in str(error.value) and len(str(error.value)) < 400 and "'model_t=Sequential(" in str(error.value)


@pytest.mark.parametrize(
    "value, pairs",
    [
        ("auto", "auto"),
        ("Auto", "auto"),
        (9, [(9, 9)]),
        ([15, 18], [(15, 15), (18, 18)]),
        ([[15, 16], [18, 19]], [(15, 16), (18, 19)]),
        ((15, (18, 21)), [(15, 15), (18, 21)]),
        ("15", [(15, 15)]),
        (["15", 18.0], [(15, 15), (18, 18)]),
        ("[[15, 16], 18]", [(15, 16), (18, 18)]),
        (np.int64(15), [(15, 15)]),
        (np.array([15, 18]), [(15, 15), (18, 18)]),
        (torch.tensor([[15, 16]]), [(15, 16)]),
        (range(15, 22, 3), [(15, 15), (18, 18), (21, 21)]),
    ],
)
def test_layers(value, pairs, make_args):
    """The word, an index, indices for both models, or pairs."""
    assert read(make_args(distill_layers=value)).layers == pairs


@pytest.mark.parametrize(
    "value", [None, "deep", -1, [15, -1], [[1, 2, 3]], [[1]], 1.5, ["1.5"], "15-18", True, [[[1, 2], 3]]]
)
def test_wrong_layers(value, make_args):
    """Anything else is refused with the forms that would do."""
    with pytest.raises(ValueError, match="distill_layers=.*is not 'auto', a layer index"):
        read(make_args(distill_layers=value))


def test_no_layers(make_args):
    """An empty list is no way to say auto."""
    with pytest.raises(ValueError, match=r"distill_layers=\[\]' names no layer"):
        read(make_args(distill_layers=[]))


@pytest.mark.parametrize("value", [CWD, CWD(tau=2.0), [CWD, "mgd"], [Plain(k=2), Plain], (Plain(k=2), "mgd")])
def test_no_live_object_stays(value, make_args):
    """Classes and instances leave a plain spelling in the arguments, which reads as the same terms."""
    args = make_args(distill_feat=value)
    first = read(args)
    plain = yaml.safe_load(yaml.safe_dump(vars(args)))["distill_feat"]
    again = read(make_args(distill_feat=plain))
    assert names(again) == names(first)
    assert [t.spelled.cls for t in again.terms] == [t.spelled.cls for t in first.terms]
    assert [t.spelled.params for t in again.terms] == [t.spelled.params for t in first.terms]


def test_auto_in_a_list_is_the_recipe_and_one_more(make_args):
    """Beside `auto` stand terms of one's own; one that the recipe has too takes its place, and each item has a gain."""
    c = read(make_args(distill_feat="[auto, pkd]", distill_logit=["Auto", "giou(margin=0.1)"], dfea=[0.5, 6]))
    assert names(c) == [
        ("feat", "cwd", 0.5), ("feat", "pkd", 6), ("logit", "relative", 1), ("logit", "ld", 4), ("logit", "giou", 1)
    ]  # fmt: skip
    assert [t.auto for t in c.terms] == [True, False, True, True, False]
    assert names(read(make_args(distill_rel="[auto,sp]")))[-1] == ("rel", "sp", 1)
    args = make_args(distill_feat=["auto", Plain])
    assert [t.auto for t in read(args).terms[:2]] == [True, False] and args.distill_feat[0] == "auto"


def test_a_gain_of_nothing_takes_a_kind_out_of_the_recipe(make_args):
    """With `dlogit=0` the recipe's predictions teach nothing, so they do not count as a reason to leave out maps."""
    assert names(read(make_args(dlogit=0))) == [("feat", "cwd", 1)]
    assert names(read(make_args(distill_feat="cwd", dfea=0)))[0] == ("feat", "cwd", 0)  # named: logged, not taught


def test_words_in_any_case(make_args):
    """Names, schedules, balances and precisions are words, whoever shouts them."""
    upper = {"distill_feat": "[CWD(tau=2), Auto]", "distill_logit": "BCKD", "distill_schedule": "Cosine(end=0.5)"}
    c = read(make_args(**upper, distill_balance="RATIO", distill_precision="FP16", distill_tau="Auto"))
    assert names(c) == [("feat", "cwd", 1), ("logit", "bckd", 1)] and c.terms[0].spelled.params == {"tau": 2}
    assert (c.schedule.name, c.balance.name, c.precision, c.tau) == ("cosine", "ratio", "fp16", None)


def test_foreign_numbers_and_texts_become_plain(make_args):
    """What numpy, torch, pathlib or a shell give reads as its plain value, which is what stays in the arguments."""
    given = {"distill_feat": [np.str_("cwd"), "mgd"], "dfea": np.array([1, 0.5]), "dlogit": torch.tensor(2.0)}
    given |= {"distill_mean": torch.tensor([0.5, 0.4, 0.3]), "distill_std": np.float32(0.5), "distill_tau": "2"}
    given |= {"distill_imgsz": "64", "distill_stop": np.int64(3), "distill_online": "True", "dline": "0.5"}
    args = make_args(**given, distill_precision=np.array("FP16"))
    c = read_each(args, 1)[0]
    assert [t.gain for t in c.terms[:3]] == [1, 0.5, 2] and (c.imgsz, c.stop, c.online, c.dline) == (64, 3, True, 0.5)
    assert c.mean == pytest.approx([0.5, 0.4, 0.3]) and c.std == [0.5] and (c.tau, c.precision) == (2, "fp16")
    again = make_args(**{k: v for k, v in yaml.safe_load(yaml.safe_dump(vars(args))).items() if k in given})
    assert names(read(again)) == names(c)
    assert read(make_args(distill_imgsz=64.0)).imgsz == 64 and read(make_args(distill_imgsz="[64, 96]")).imgsz == (
        64,
        96,
    )


def test_one_warning_for_what_does_nothing(make_args, log):
    """Without a teacher, or beside one without the term, an argument is named once; defaults are not."""
    warn_without_teacher(make_args(model_t=None, distill_tau="AUTO"))
    warn_without_teacher(make_args(model_t="none"))
    warn_beside_teacher(make_args(), [read(make_args())])
    assert not log()
    warn_without_teacher(make_args(model_t=None, distill_feat="cwd", dfea=2))
    warn_without_teacher(make_args(model_t=[]))
    args = make_args(distill_feat="none", dfea=2, drel=3, dline=2, distill_layers=[15], distill_logit="giou",
                     distill_alpha=0.5)  # fmt: skip
    warn_beside_teacher(args, [read(args)])
    without, empty, beside = log()
    assert "'distill_feat=cwd', 'dfea=2' have no effect without a teacher; give one in 'model_t'" in without
    assert "'model_t=[]' names none: no teacher, so this is plain training" in empty
    says = [
        "'dfea=2' has no",
        "'drel=3' has no",
        "'dline=2' is for",
        "'distill_layers=[15]' is",
        "'distill_alpha=0.5' r",
    ]
    assert all(x in beside for x in says)


@needs_84("has neither argument")
def test_upstreams_gains_are_none_of_ours(make_args, log):
    """`dlog` and `dis` are arguments of upstream's, so its check does not ask whether another was meant."""
    for args in (make_args(dlog=5), make_args(dlog=5, task="depth"), make_args(dis=9)):
        warn_beside_teacher(args, [read(args)])
    dlog, dis = log()
    assert "'dlog=5'" in dlog and "did you mean 'dlogit'" in dlog and "'dis=9' is for 'distill_model'" in dis


@settings(max_examples=25, deadline=None, derandomize=True)
@given(pairs=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=5, unique=True))
def test_pairs_read_the_same_from_lists(pairs, make_args):
    """Pairs come back from YAML and the command line as lists and mean the same."""
    assert read(make_args(distill_layers=[list(p) for p in pairs])).layers == pairs
