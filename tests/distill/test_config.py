# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The arguments of a distilled run."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ultralytics.distill.config import read
from ultralytics.distill.losses import CWD


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
        ({"distill_feat": "kl"}, "distill_feat=kl' is unknown"),
        ({"distill_rel": "cwd"}, "distill_rel=cwd' is unknown; choose from sp, rkd, crd"),
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


@pytest.mark.parametrize(
    "value, pairs",
    [
        ("auto", "auto"),
        ("Auto", "auto"),
        (9, [(9, 9)]),
        ([15, 18], [(15, 15), (18, 18)]),
        ([[15, 16], [18, 19]], [(15, 16), (18, 19)]),
        ((15, (18, 21)), [(15, 15), (18, 21)]),
    ],
)
def test_layers(value, pairs, make_args):
    """The word, an index, indices for both models, or pairs."""
    assert read(make_args(distill_layers=value)).layers == pairs


@pytest.mark.parametrize("value", [None, "deep", -1, [15, -1], [[1, 2, 3]], [[1]], 1.5, ["15"], True, [[[1, 2], 3]]])
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


@settings(max_examples=25, deadline=None, derandomize=True)
@given(pairs=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=5, unique=True))
def test_pairs_read_the_same_from_lists(pairs, make_args):
    """Pairs come back from YAML and the command line as lists and mean the same."""
    assert read(make_args(distill_layers=[list(p) for p in pairs])).layers == pairs
