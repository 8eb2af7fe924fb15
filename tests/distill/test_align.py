# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Fitting a student map to a teacher map."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.distill.align import Align


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    student=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    teacher=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    project=st.booleans(),
)
def test_shapes(n, channels, student, teacher, project):
    """The student keeps its grid, the teacher is brought to it; the student gets the teacher's width where wanted."""
    s, t = Align(*channels, project=project)(torch.rand(n, channels[0], *student), torch.rand(n, channels[1], *teacher))
    assert s.shape == (n, channels[1] if project else channels[0], *student)
    assert t.shape == (n, channels[1], *student)


def test_projection_only_where_widths_differ():
    """Equal widths need no parameters; others get one 1x1 convolution without bias."""
    assert not list(Align(8, 8).parameters()) and not list(Align(8, 16, project=False).parameters())
    assert [p.shape for p in Align(8, 16).parameters()] == [(16, 8, 1, 1)]


def test_equal_maps_pass_untouched():
    """Without norm, maps that fit already come out bit for bit."""
    s, t = torch.rand(2, 4, 5, 5), torch.rand(2, 4, 5, 5)
    a, b = Align(4, 4)(s, t)
    assert torch.equal(a, s) and torch.equal(b, t)


def test_teacher_is_resampled_bilinearly():
    """A linear ramp on a finer grid arrives as the same ramp on the coarser one."""
    ramp = torch.linspace(0, 1, 16).add(1 / 30).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    _, t = Align(1, 1)(torch.rand(1, 1, 8, 8), ramp)
    assert torch.allclose(t, ramp.view(1, 1, 16, 8, 2).mean(-1)[:, :, :8], atol=1e-6)


@pytest.mark.parametrize("norm, dims", [("batch", (0, 2, 3)), ("instance", (2, 3))])
def test_norm(norm, dims):
    """Both maps get mean 0 and variance 1 in each channel, over the batch or over each image, and no more than that."""
    s, t = 3 + 2 * torch.randn(4, 3, 9, 9), 7 * torch.randn(4, 3, 9, 9) * torch.arange(1, 5).view(4, 1, 1, 1)
    for x, y in zip((s, t), Align(3, 3, norm=norm)(s, t)):
        assert torch.allclose(y.mean(dims), torch.zeros(()), atol=1e-4)
        assert torch.allclose(y.var(dims, unbiased=False), torch.ones(()), atol=1e-3)
        assert torch.allclose(
            y, (x - x.mean(dims, keepdim=True)) / x.std(dims, unbiased=False, keepdim=True), atol=1e-3
        )


def test_norm_keeps_no_state():
    """Training never moves anything but the projection: a later batch is normalised by its own statistics alone."""
    align = Align(3, 3, norm="batch")
    x = torch.randn(4, 3, 5, 5)
    first = align(x, x)[0]
    align(9 + x, 9 + x)
    assert torch.equal(align.eval()(x, x)[0], first) and not align.state_dict()


def test_gradient_and_precision():
    """Maps of 16 bits are compared in fp32; the gradient reaches the student and its projection, never the teacher."""
    align = Align(2, 3, norm="batch")
    s, t = (torch.rand(2, c, 4, 4, dtype=torch.bfloat16, requires_grad=True) for c in (2, 3))
    a, b = align(s, t)
    F.mse_loss(a, b).backward()
    assert a.dtype == b.dtype == torch.float32 and not b.requires_grad
    assert s.grad.abs().sum() > 0 and align.project.weight.grad.abs().sum() > 0 and t.grad is None


def test_unknown_norm():
    """A typo is answered with the valid norms."""
    with pytest.raises(ValueError, match="'norm=layer' is unknown; choose from none, batch, instance"):
        Align(1, 1, norm="layer")
