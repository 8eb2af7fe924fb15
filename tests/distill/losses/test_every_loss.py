# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What holds for every loss, by name."""

from __future__ import annotations

import inspect
from contextlib import nullcontext

import pytest
import torch

from ultralytics.distill import losses
from ultralytics.distill.losses import FEATURE, RELATION, RESPONSE

ALL = {**FEATURE, **RESPONSE, **RELATION}
PER_IMAGE = ["cwd", "mgd", "mimic", "cosine", "fgd", "at", "gram", "kl", "mse", "cwdmap", "depth"]
VARIANTS = [
    *((name, {}) for name in ALL),
    ("mimic", {"p": 1}),
    ("at", {"form": "paper"}),
    ("at", {"over": "channel"}),
    ("bckd", {"norm": "npos", "beta": 2.0}),
    ("bckd", {"beta": 1.5, "alpha": 0.7}),
    ("relative", {"tau": 2.0, "alpha": 0.7}),
    ("bce", {"alpha": 0.7}),
    ("kl", {"alpha": 0.7}),
    ("kl", {"standardize": True}),
    ("relative", {"standardize": True, "tau": 2.0}),
    ("dist", {"tau": 2.0, "alpha": 0.7}),
    ("mse", {"alpha": 0.7}),
    ("ld", {"tau": 3.0}),
    ("crosskd", {"norm": "npos", "alpha": 0.7}),
    ("crossld", {"tau": 3.0}),
    ("mask", {"top": 3}),
    ("depth", {"slope": 0.5}),
    ("sp", {"form": "cosine"}),
    ("rkd", {"unit": True}),
]
every = pytest.mark.parametrize("name", ALL)
variants = pytest.mark.parametrize(("name", "params"), VARIANTS, ids=[f"{n}-{p}" if p else n for n, p in VARIANTS])


def backward(case, context=None) -> torch.Tensor:
    """Run the loss (in `context`) and go backward with the student's and teacher's tensors as leaves."""
    for side in ("student", "teacher"):
        for x in case.leaves(side):
            x.requires_grad_()
    with context or nullcontext():
        value = case()
    value.backward()
    return value


def test_names_are_spelled_as_users_type_them():
    """Every name is the lower-case class name, in one dict only, so messages can name a loss by its class."""
    assert len(ALL) == len(FEATURE) + len(RESPONSE) + len(RELATION) == 29
    assert all(name == cls.__name__.lower() for name, cls in ALL.items())


def test_every_loss_can_be_imported_by_its_class():
    """What a name means stands among the package's public names."""
    assert {cls.__name__ for cls in ALL.values()} < set(losses.__all__)


@variants
def test_zero_at_equality(case, name, params):
    """A student equal to its teacher has nothing to learn; crd alone has another floor, tested there."""
    if name == "crd" or params.get("alpha", 1) < 1:
        pytest.skip("its value at equality is not zero, by definition")
    same = case(name, equal=True, **params)
    assert same().abs() < 1e-11
    assert case(name, **params)() > 1e-5  # and it is not zero for all inputs
    assert case(name, equal=True, dtype=torch.float32, **params)().abs() < 2e-6


@variants
def test_gradient_into_student_and_own_layers_only(case, name, params):
    """Student and own layers learn, the teacher's graph is cut."""
    c = case(name, **params)
    value = backward(c)
    assert value.shape == () and value.isfinite()
    assert all(x.grad is not None and x.grad.isfinite().all() and x.grad.abs().sum() > 0 for x in c.wanted())
    assert all(x.grad is None for x in c.leaves("teacher"))
    for key, p in c.loss.named_parameters():
        assert p.grad is not None, key
        # the relation blocks start with a last layer of zeros, through which nothing flows back yet
        assert p.grad.abs().sum() > 0 or name == "fgd" and ".add.3" not in key, key


@variants
def test_gradcheck(case, name, params):
    """The gradient, some of it written by hand, is that of the value, also for a scaled output and a second walk."""
    c = case(name, n=2, size=(2, 3), **params)
    for p in c.loss.parameters():  # away from the zeros that some layers start with
        p.data += 0.1 * torch.randn_like(p)
    leaves = [x.requires_grad_() for x in c.wanted()]
    torch.autograd.gradcheck(lambda *_: 3 * c(), leaves, atol=1e-6, fast_mode=True)
    value = c()
    first, second = (torch.autograd.grad(value, leaves, retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@every
def test_half_inputs_are_computed_in_full(case, name, half):
    """16-bit inputs and a surrounding autocast give what float32 gives for the same numbers, in value and gradient."""
    wide = case(name, dtype=torch.float32, seed=1).map(lambda x: x.to(half).float())
    thin = wide.map(lambda x: x.detach().to(half))
    expected = backward(wide)
    value = backward(thin, torch.autocast("cpu", torch.bfloat16))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    for a, b in zip(thin.wanted(), wide.wanted()):
        assert a.grad.dtype == half
        torch.testing.assert_close(a.grad.float(), b.grad, rtol=1e-2, atol=1e-5)
    exact = wide.map(torch.Tensor.double)
    exact.loss.double()
    if name.startswith("cross"):
        exact.teacher["tail"] = [m.double() for m in exact.teacher["tail"]]
    torch.testing.assert_close(value.double(), exact(), rtol=1e-4, atol=1e-6)


@variants
def test_finite_on_poor_inputs(case, name, params):
    """All-zero maps, one image, one class, one pixel, odd sizes, no objects: value and gradient stay finite."""
    for kind in ({}, {"n": 1}, {"nc": 1}, {"size": (1, 1)}, {"size": (7, 3)}, {"objects": False}):
        for zeros in ((), ("student",), ("teacher",), ("student", "teacher")):
            c = case(name, dtype=torch.float32, **kind, **params).map(torch.zeros_like, zeros)
            assert backward(c).isfinite(), (kind, zeros)
            assert all(x.grad.isfinite().all() and x.grad.abs().max() < 1e7 for x in c.wanted()), (kind, zeros)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@every
def test_finite_on_zeros_in_half(case, name, half):
    """Where a small epsilon would round to zero, widening comes first."""
    c = case(name, dtype=torch.float32, n=1).map(lambda x: torch.zeros_like(x, dtype=half))
    assert backward(c).isfinite()


@variants
def test_batch_is_the_mean_of_its_images(case, name, params):
    """The value does not depend on the batch size, except where the docstring says that batch statistics count."""
    if params.get("norm") == "npos":
        pytest.skip("the number of positives is a batch statistic, and so is said")
    c = case(name, n=4, **params)
    mean = sum(c.image(i)() for i in range(4)) / 4
    assert torch.allclose(c(), mean, rtol=1e-9) == (name in PER_IMAGE)


@every
def test_docstring_says_whether_batch_statistics_count(name):
    """A reader learns from the docstring whether a larger batch changes the value."""
    text = " ".join(inspect.getdoc(ALL[name]).split())
    says = "Per-image mean: a batch's value is the mean of its images'" in text
    assert says == (name in PER_IMAGE)
    assert says or "a batch's value is not the mean of its images'" in text


@every
def test_no_look_at_the_values(case, name):
    """No branch on data and no `.item()`: it runs where tensors have no values, so a GPU is never waited for."""
    c = case(name, dtype=torch.float32)
    c = c.map(lambda x: x.to("meta"))
    c.loss.to("meta")
    c.batch = {k: v.to("meta") for k, v in c.batch.items()}
    for d in (c.student, c.teacher):
        if isinstance(d, dict):
            d.update({k: v.to("meta") for k, v in d.items() if isinstance(v, torch.Tensor)})
            d.update({"tail": [m.to("meta") for m in d["tail"]]} if "tail" in d else {})
    assert backward(c).device.type == "meta"


# Maps (or tensors of the predictions compared) that may be kept for backward beyond the inputs themselves, as the
# docstrings say. mgd: masked map, hidden map, error. sl2: hidden map, error. crosskd: 2 in the branch, 1 in the loss;
# crossld and crossgiou: 2 in the branch, and boxes that are here 32 times as wide.
KEPT = {"cosine": 1, "cwd": 1, "fgd": 1, "mgd": 3, "pkd": 1, "sl2": 2}
KEPT |= {"bce": 1, "bckd": 1, "crosskd": 2.6, "dist": 5.4, "giou": 1, "kl": 2, "l1": 1, "ld": 1, "mse": 1}
KEPT |= {"crossld": 34, "crossgiou": 40.3}
KEPT |= {"relative": 2, "cwdmap": 1, "depth": 3, "mask": 1, "pose": 6.5, "probiou": 1.2}


@every
def test_bytes_kept_for_backward(case, name):
    """What lives until backward is at most what the docstrings say."""
    c = case(name, n=4, size=(40, 40), wide=8, dtype=torch.float32)
    if isinstance(c.student, dict):  # many anchors, so that what is small stays small
        c = c.map(lambda x: x.repeat(*[1] * (x.ndim - 1), 50) if x.ndim > 2 else x.repeat(1, 50))
        for key in ("target_scores", "fg_mask"):
            c.student.pop(key, None)
        for side in (c.student, c.teacher):
            side.update({"shapes": [(1, 850)], "strides": [8.0]})
    for x in c.leaves():
        x.requires_grad_()
    inputs = {x.untyped_storage().data_ptr() for s in ("student", "teacher") for x in c.leaves(s)}
    kept = {}

    def pack(x):
        if x.untyped_storage().data_ptr() not in inputs:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes(), x
        return x

    inputs |= {p.untyped_storage().data_ptr() for p in c.loss.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        value = c()
    unit = sum(x.numel() * 4 for x in (c.wanted() if isinstance(c.student, dict) else [c.teacher]))
    assert sum(b for b, _ in kept.values()) <= (KEPT.get(name, 0) + 0.2) * unit, value
