# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""How terms and older arguments may be spelled."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ultralytics.cfg import get_cfg, parse_key_value_pair
from ultralytics.distill.losses import CWD, FEATURE, MGD, RESPONSE
from ultralytics.distill.schedule import SCHEDULES, Constant
from ultralytics.distill.spelling import OLD_NAMES, accept_old_names, build_spelled, parse, split_list
from ultralytics.utils import DEFAULT_CFG, SETTINGS


class Weighted(nn.Module):
    """A user's loss whose parameters are kept as plain attributes."""

    def __init__(self, k: float = 1.0, mode: str = "mean"):
        """Keep the parameters."""
        super().__init__()
        self.k, self.mode = k, mode


class Holds(nn.Module):
    """A user's loss with a parameter that has no plain spelling."""

    def __init__(self, table):
        """Keep the table."""
        super().__init__()
        self.table = table


class Forgets(nn.Module):
    """A user's loss that does not keep its parameter."""

    def __init__(self, k: float = 1.0):
        """Forget the parameter."""
        super().__init__()


class Anything(nn.Module):
    """A user's loss that takes any keyword."""

    def __init__(self, **kwargs):
        """Take them."""
        super().__init__()


class Smooth(nn.SmoothL1Loss):
    """A user's loss, derived from one of torch's."""

    def forward(self, student, teacher, batch):
        """Leave out the batch."""
        return super().forward(student, teacher)


class Outer:
    """A place for a nested class."""

    class Inner(nn.Module):
        """A loss inside a class."""


def test_list_from_the_command_line():
    """A list of names arrives as one string; commas inside brackets do not split it."""
    _, value = parse_key_value_pair("distill_feat=[cwd,mgd(lambda_mgd=0.5, alpha_mgd=1e-5), my.mod:Loss(a=[1,2])]")
    assert split_list(value) == ["cwd", "mgd(lambda_mgd=0.5, alpha_mgd=1e-5)", "my.mod:Loss(a=[1,2])"]


@pytest.mark.parametrize(
    "value, items",
    [
        ("cwd", ["cwd"]),
        (" cwd , mgd ", ["cwd", "mgd"]),
        ("['cwd', \"mgd\"]", ["cwd", "mgd"]),
        (["cwd", "[mgd,mimic]"], ["cwd", "mgd", "mimic"]),
        (("cwd", None, "none"), ["cwd"]),
        ([CWD, "mgd"], [CWD, "mgd"]),
    ],
)
def test_lists(value, items):
    """Strings, lists, tuples and mixtures of names and classes become single items in their order."""
    assert split_list(value) == items


@pytest.mark.parametrize("value", [None, False, "none", "None", "", "[]", "[none]", [], [None]])
def test_off(value):
    """Every spelling of off is an empty list."""
    assert split_list(value) == []


VALUES = st.one_of(st.integers(), st.booleans(), st.lists(st.integers(), max_size=3), st.text("ab, ", max_size=4))


def spell(name, params):
    """Write a term as its user would."""
    return name + f"({', '.join(f'{k}={v!r}' for k, v in params.items())})" * bool(params)


TERMS = st.builds(spell, st.sampled_from(sorted(FEATURE)), st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(TERMS, min_size=1, max_size=4))
def test_any_list_survives_the_command_line(items):
    """Joining terms to one string and splitting it again gives the same terms."""
    assert split_list(f"[{','.join(items)}]") == items


def test_name_with_parameters():
    """Parameters are numbers, booleans, lists or words; words need no quotes."""
    spelled = parse("distill_feat", "mgd( lambda_mgd=0.5, norm=batch )", FEATURE)
    assert (spelled.cls, spelled.name, spelled.params) == (MGD, "mgd", {"lambda_mgd": 0.5, "norm": "batch"})
    other = parse("x", f"{__name__}:Anything(a=-1, b=[1, 2], c='d e', e=None, f=True)", FEATURE)
    assert other.params == {"a": -1, "b": [1, 2], "c": "d e", "e": None, "f": True}


def test_users_class():
    """`package.module:Class(k=1)` finds a class, also a nested one, and keeps its spelling."""
    spelled = parse("distill_feat", f"{__name__}:Weighted(k=2)", FEATURE)
    assert (spelled.cls, spelled.name, spelled.params) == (Weighted, "Weighted", {"k": 2})
    assert spelled.text == f"{__name__}:Weighted(k=2)"
    assert parse("distill_feat", f"{__name__}:Outer.Inner", FEATURE).cls is Outer.Inner


@pytest.mark.parametrize("item", [Weighted, Outer.Inner, Weighted(k=3.5, mode="sum"), Weighted(k=(1, 2))])
def test_objects_get_a_spelling_that_builds_them_again(item):
    """A class or an instance is kept as text from which resume and workers build an equal one."""
    live = parse("distill_feat", item, FEATURE)
    again = parse("distill_feat", live.text, FEATURE)
    assert again.cls is live.cls and again.instance is None
    if isinstance(item, nn.Module):
        assert live.instance is item
        assert vars(again.cls(**again.params)).keys() == vars(item).keys()
        assert (again.cls(**again.params).k, again.cls(**again.params).mode) == (item.k, item.mode)


@pytest.mark.parametrize("item, named", [(Holds(torch.ones(2)), "'table'"), (Forgets(k=2.0), "'k'")])
def test_instance_that_cannot_be_spelled(item, named):
    """An instance whose parameters cannot be written down is refused, with the parameter and what would do."""
    with pytest.raises(ValueError, match=f"distill_feat={type(item).__name__}.*{named}.*{__name__}:") as e:
        parse("distill_feat", item, FEATURE)
    assert "\n" not in str(e.value)


def test_widths_are_left_to_the_layers():
    """A loss that was built for one width is spelled without it; each layer pair fills in its own."""
    text = parse("distill_feat", MGD(lambda_mgd=0.5, channels_t=4), FEATURE).text
    assert "lambda_mgd=0.5" in text and "channels" not in text and parse("distill_feat", text, FEATURE).cls is MGD


def test_local_class_is_refused():
    """A class inside a function cannot be imported by a worker, which the message says."""

    class Local(nn.Module):
        """A loss that only this function sees."""

    with pytest.raises(ValueError, match="distill_feat=.*Local.*inside a function.*top level"):
        parse("distill_feat", Local, FEATURE)


@pytest.mark.parametrize("item", ["subprocess:Popen(args='touch here', shell=True)", "builtins:dict", dict])
def test_nothing_but_modules_is_built(item):
    """A stranger's checkpoint can name any class: one that is no module is refused before it is built."""
    with pytest.raises(ValueError, match="distill_feat=.* cannot be used here; derive it from torch.nn.Module"):
        parse("distill_feat", item, FEATURE)
    with pytest.raises(ValueError, match="distill_schedule=.* derive it from ultralytics.distill.schedule.Constant"):
        parse("distill_schedule", item, SCHEDULES, base=Constant)


def test_unknown_name_lists_the_valid_ones():
    """A typo is answered with every name that would do."""
    with pytest.raises(ValueError) as e:
        parse("distill_feat", "cvd", FEATURE)
    assert "'distill_feat=cvd' is unknown" in str(e.value) and all(name in str(e.value) for name in FEATURE)


@pytest.mark.parametrize("item", ["mgd(lamda=0.5)", f"{__name__}:Weighted(lamda=0.5)"])
def test_unknown_parameter_lists_the_valid_ones(item):
    """A parameter's typo is answered with the parameters a user may set, not with the widths that we fill in."""
    with pytest.raises(ValueError, match="'lamda'") as e:
        parse("distill_feat", item, FEATURE)
    valid = str(e.value).split("valid ones: ")[1]
    assert ("lambda_mgd" in valid or "mode" in valid) and "channels" not in valid


@pytest.mark.parametrize("item", ["cwd(", "cwd(2)", "cwd(tau=1", "cwd(tau=1)(tau=2)", "cwd(tau=1)x", "cwd(tau=a.b)"])
def test_unreadable_brackets(item):
    """What is no `name(key=value)` is refused with the spelling that would do, never half read."""
    with pytest.raises(ValueError, match=r"cannot be read; write parameters as 'name\(key=value"):
        parse("distill_feat", item, FEATURE)


@pytest.mark.parametrize(
    "item, says", [("no.such:Loss", "cannot be imported"), ("torch.nn:NoSuch", "cannot be imported"),
                   ("torch:ones", "not a class"), (3, "is not a name"), (True, "is not a name")]
)  # fmt: skip
def test_wrong_things(item, says):
    """A missing module or class, a function and a number are refused by name."""
    with pytest.raises(ValueError, match=f"distill_rel={item}.*{says}"):
        parse("distill_rel", item, FEATURE)


BROKEN = {  # what a user's file does, and what is said of it
    "def f(:": "cannot be imported: SyntaxError: invalid syntax .*line 1",
    "import os\nraise RuntimeError('no GPU')": "cannot be imported: RuntimeError: no GPU .*line 2",
    "raise SystemExit": "cannot be imported: SystemExit: no reason given .*line 1",
    "import sys\nsys.exit('bye')": "cannot be imported: SystemExit: bye .*line 2",
    "import no_such_thing": "cannot be imported: it needs 'no_such_thing', which is not installed .*line 1",
    "from os import nothing_of_it": "cannot be imported: ImportError: cannot import name .*line 1",
    "Other = 1": "cannot be imported: '{name}' has no 'Loss'",
    "import torch\nclass Loss(torch.nn.Module):\n  def __init__(self):\n    super().__init__(); {{}}['k']": (
        "cannot be built: KeyError: 'k' .*line 4"
    ),
}


@pytest.mark.parametrize("text, says", BROKEN.items())
def test_what_goes_wrong_in_a_users_file_is_said_with_its_place(text, says, tmp_path, monkeypatch):
    """The sentence names the argument, the error and the line; the advice about PYTHONPATH is for files not found."""
    name = f"broken{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text.format())
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=f"'distill_feat={name}:Loss' {says.format(name=name)}") as e:
        build_spelled("distill_feat", parse("distill_feat", f"{name}:Loss", FEATURE))
    assert "\n" not in str(e.value) and "PYTHONPATH" not in str(e.value)


@pytest.mark.parametrize(
    "item, says",
    [("mine/loss.py:Loss", "names a file; give 'loss:Loss'"), ("loss.py:Loss", "names a file; give 'loss:Loss'"),
     (".loss:Loss", "starts with a dot"), (":Loss", "cannot be imported"), ("C:\\\\loss.py:Loss", "'loss:Loss'")]
)  # fmt: skip
def test_other_ways_to_name_a_file(item, says):
    """A path or a relative name is answered with the spelling that would do."""
    with pytest.raises(ValueError, match=says):
        parse("distill_feat", item.replace("\\\\", "\\"), FEATURE)


def test_a_torch_loss_with_a_forward_of_ones_own():
    """A class derived from one of torch's is spelled without the parameters that torch no longer keeps."""
    assert (
        parse("distill_feat", Smooth(reduction="sum"), FEATURE).text == f"{__name__}:Smooth(reduction='sum', beta=1.0)"
    )


@pytest.mark.parametrize("old, new", OLD_NAMES.items())
def test_older_spelling(old, new, log):
    """Each older argument arrives under today's name, with one line that says so."""
    args = get_cfg(DEFAULT_CFG, {old: "mgd"})
    assert getattr(args, new) == "mgd" and not hasattr(args, old)
    assert [x for x in log() if f"'{old}' is deprecated" in x and f"'{new}'" in x] == log()[:1] and len(log()) == 1


@pytest.mark.parametrize("value, logit", [(True, "mse"), (False, None), ("bce", "bce")])
def test_logit_loss(value, logit):
    """The tutorials' switch means the mean squared error; off is off."""
    assert accept_old_names({"logit_loss": value}) == {"distill_logit": logit}


def test_live_teacher_under_its_older_name():
    """`Distillation=module` is handed on as it is, and today's name wins where both are given."""
    module = nn.Identity()
    assert accept_old_names({"Distillation": module})["model_t"] is module
    assert accept_old_names({"teacher": "old.pt", "model_t": "new.pt"}) == {"model_t": "new.pt"}


def test_other_dictionaries_stay():
    """Settings and arguments without an older name pass through unchanged, in silence."""
    settings_, plain = dict(SETTINGS), {"epochs": 3, "model_t": "a.pt", "dis": 6.0}
    assert accept_old_names(dict(settings_)) == settings_ and accept_old_names(dict(plain)) == plain


def test_a_parameters_older_name(log):
    """`lead=` of the first version is `margin=` now: taken, said in one line, and kept under the new name."""
    found = parse("distill_logit", "giou(lead=0.1)", RESPONSE)
    assert found.params == {"margin": 0.1} and found.text == "giou(margin=0.1)"
    assert len([x for x in log() if "'lead' is deprecated" in x and "'margin'" in x]) == 1
    with pytest.raises(ValueError, match="bce has no parameter 'lead'"):
        parse("distill_logit", "bce(lead=0.1)", RESPONSE)
