# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What every loss takes, by name: its parameters and their defaults, its inputs, and what it refuses."""

from __future__ import annotations

import inspect

import pytest
import torch
from test_every_loss import ALL, every

from ultralytics.distill.losses import FEATURE, RELATION, RESPONSE


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("cwd", {"tau": 0}, "tau=0' .*above 0"),
        ("cwd", {"tau": "two"}, "tau=two"),
        ("cwd", {"tau": float("nan")}, "tau=nan"),
        ("cwd", {"norm": "layer"}, "norm=layer' .*none, batch, instance"),
        ("mgd", {"lambda_mgd": 1}, "lambda_mgd=1 masks"),
        ("mgd", {"lambda_mgd": -0.1}, "lambda_mgd=-0.1' .*at least 0 and at most 1"),
        ("mgd", {"alpha_mgd": 0}, "alpha_mgd=0' "),
        ("mgd", {"channels_t": 1.5}, "channels_t=1.5' "),
        ("mimic", {"p": 3}, "p=3' .*1, 2"),
        ("fgd", {"temp": -1}, "temp=-1"),
        ("fgd", {"channels_t": 0}, "channels_t=0' "),
        ("at", {"form": "papers"}, "form=papers' .*code, paper"),
        ("at", {"over": 1}, "over=1' .*spatial, channel"),
        ("sl2", {"channels_s": True, "channels_t": 2}, "channels_s=True"),
        ("bckd", {"beta": 0.5}, "beta=0.5' .*at least 1"),
        ("bckd", {"norm": "batch"}, "norm=batch' .*conf, npos"),
        ("bce", {"alpha": 1.1}, "alpha=1.1' .*at most 1"),
        ("relative", {"tau": 0}, "tau=0"),
        ("kl", {"tau": -1}, "tau=-1"),
        ("relative", {"standardize": "a"}, "standardize=a' .*False, True"),
        ("dist", {"gamma": -1}, "gamma=-1"),
        ("ld", {"tau": True}, "tau=True"),
        ("giou", {"margin": -0.1}, "margin=-0.1' .*at most 1"),
        ("relative", {"margin": 2}, "margin=2' .*at most 1"),
        ("bckd", {"margin": "no"}, "margin=no'"),
        ("mask", {"top": 0}, "top=0' "),
        ("cwdmap", {"tau": 0}, "tau=0' "),
        ("depth", {"slope": -1}, "slope=-1' "),
        ("sp", {"form": "row"}, "form=row' .*rows, cosine"),
        ("rkd", {"unit": 2}, "unit=2' .*False, True"),
        ("crd", {"channels_s": 2, "channels_t": 2, "temperature": 0}, "temperature=0"),
    ],
)
def test_bad_parameters_die_at_construction(name, params, message):
    """The sentence names the parameter, its value and what would do."""
    with pytest.raises(ValueError, match=message):
        ALL[name](**params)


@every
def test_unequal_inputs_are_refused(case, name):
    """Inputs that cannot be compared raise a sentence with both shapes, not torch's broadcast of them."""
    c = case(name)
    if name in RELATION:
        c.teacher = c.teacher[:2]
    elif name.startswith("cross"):
        c.teacher["head"] = [x[:, :1] for x in c.teacher["head"]]
    elif name in RESPONSE:
        keys = [k for k, v in c.teacher.items() if isinstance(v, torch.Tensor) and (name, k) != ("mask", "proto")]
        decoded = name in {"giou", "l1", "ld", "probiou", "depth"}  # their channels may differ
        c.teacher |= {k: c.teacher[k][..., :1] if decoded else c.teacher[k][:, :1] for k in keys}
    else:
        c.teacher = c.teacher[..., :1]
    with pytest.raises(ValueError, match=rf"{name} .*\(.*\(" if name != "sl2" else "sl2 needs scores"):
        c()


@pytest.mark.parametrize(
    ("name", "params", "key", "side"),
    [
        ("fgd", {}, "bboxes", "batch"),
        ("sl2", {}, "teacher_scores", "batch"),
        ("bckd", {"alpha": 0.5}, "target_scores", "student"),
        ("bckd", {"norm": "npos"}, "fg_mask", "student"),
        ("relative", {"alpha": 0.5}, "target_scores", "student"),
        ("kl", {"alpha": 0.5}, "target_scores", "student"),
        ("ld", {}, "boxes", "teacher"),
        ("mse", {}, "shapes", "student"),
        ("crosskd", {}, "tail", "teacher"),
        ("crossld", {}, "head", "student"),
        ("crossgiou", {}, "scores", "teacher"),
        ("giou", {}, "scores", "teacher"),
        ("l1", {}, "strides", "student"),
        ("mask", {}, "proto", "student"),
        ("mask", {}, "boxes", "teacher"),
        ("pose", {}, "keypoints", "student"),
        ("probiou", {}, "angle", "teacher"),
        ("cwdmap", {}, "scores", "teacher"),
        ("depth", {}, "log_depth", "student"),
    ],
)
def test_missing_inputs_are_named(case, name, params, key, side):
    """The sentence names the loss, what it misses, and where."""
    c = case(name, **params)
    del getattr(c, side)[key]
    with pytest.raises(ValueError, match=f"{name} needs '{key}' in the {side}"):
        c()


def test_callers_learn_what_a_loss_needs():
    """The attributes by which the distiller decides what to prepare."""
    cls = {**FEATURE, **RELATION}
    assert {k for k, v in cls.items() if not v.align} == {"at", "sl2", "sp", "rkd", "crd"}
    assert ALL["at"](over="channel").align and not ALL["at"]().align
    assert {k for k, v in ALL.items() if v.needs_scores} == {"sl2"}
    heads = {"crosskd": "classes", "crossld": "boxes", "crossgiou": "boxes"}
    assert {k: v.needs_head for k, v in ALL.items() if v.needs_head} == heads
    for name in ("relative", "bckd", "bce", "kl", "dist", "mse", "crosskd"):
        assert ALL[name](alpha=0.5).needs_targets and not ALL[name]().needs_targets
    assert ALL["bckd"](norm="npos").needs_targets and ALL["crosskd"](norm="npos").needs_targets
    assert [k for k in FEATURE if "norm" in inspect.signature(FEATURE[k]).parameters] == [
        "cwd",
        "mgd",
        "mimic",
        "cosine",
        "gram",
    ]


def test_defaults():
    """The values that stand in the references, or in the docstrings where we chose our own."""
    norms = {"cwd": "batch", "mgd": "none", "mimic": "batch", "cosine": "none", "gram": "batch"}
    expected = {name: {"norm": norm} for name, norm in norms.items()}
    expected["cwd"] |= {"tau": 1.0}
    expected["mgd"] |= {"alpha_mgd": 2e-5, "lambda_mgd": 0.65, "channels_t": 256}
    expected["mimic"] |= {"p": 2}
    expected["pkd"] = {}
    expected["fgd"] = {"alpha_fgd": 1e-3, "beta_fgd": 5e-4, "gamma_fgd": 1e-3, "lambda_fgd": 5e-6, "temp": 0.5}
    expected["fgd"] |= {"channels_t": 256}
    expected["at"] = {"form": "code", "over": "spatial"}
    expected["sl2"] = {"channels_s": inspect.Parameter.empty, "channels_t": inspect.Parameter.empty}
    expected["crosskd"] = {"beta": 1.0, "norm": "conf", "alpha": 1.0}
    expected["bckd"] = {**expected["crosskd"], "margin": 0.03}
    expected["bce"] = expected["mse"] = {"alpha": 1.0}
    expected["relative"] = {"tau": 1.0, "alpha": 1.0, "margin": 0.03, "standardize": False}
    expected["kl"] = {"tau": 4.0, "alpha": 1.0, "standardize": False}
    expected["dist"] = {"tau": 1.0, "alpha": 1.0, "beta": 1.0, "gamma": 1.0}
    expected["ld"], expected["giou"] = {"tau": 1.0, "margin": 0.03}, {"margin": 0.03}
    expected["l1"] = expected["giou"]
    expected["crossld"], expected["crossgiou"] = {"tau": 1.0}, {}
    expected["pose"] = expected["probiou"] = {}
    expected |= {"mask": {"top": 32}, "cwdmap": {"tau": 4.0}, "depth": {"slope": 1.0}}
    expected["sp"] = {"form": "rows"}
    expected["rkd"] = {"weight_d": 25.0, "weight_a": 50.0, "unit": False}
    expected["crd"] = {**expected["sl2"], "dim": 128, "temperature": 0.07}
    for name, cls in ALL.items():
        found = {k: p.default for k, p in inspect.signature(cls).parameters.items()}
        assert found == expected[name], name
