# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Values that keep their gradient, and nothing else, for backward: written out, or worked out at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable


class KnownGradient(torch.autograd.Function):
    """A value whose gradients were computed along with it."""

    @staticmethod
    def forward(
        ctx: Any, value: torch.Tensor, gradients: Sequence[torch.Tensor], *inputs: torch.Tensor
    ) -> torch.Tensor:
        """Keep the gradients, one for each input, and hand on the value."""
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [x.dtype for x in inputs]
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Scale the kept gradients: not in place, the graph may be walked twice.

        In full precision, since a scaler's factor saves small ones in 16 bits.
        """
        return None, None, *((g * grad).to(d) for g, d in zip(ctx.saved_tensors, ctx.dtypes))


def precompute_gradient(compare: Callable[[torch.Tensor], Any], student: torch.Tensor, own: nn.Module) -> Any:
    """Return `compare(student)` with its gradient worked out at once.

    The maps in between are freed before the next term is computed, instead of waiting for the whole backward: what is
    kept is one gradient of the student's map, and those of the term's own weights.

    Args:
        compare (Callable): Takes the student's map and returns a scalar; what else it returns is handed on as it is.
        student (torch.Tensor): Map (N, C, H, W), with its graph.
        own (nn.Module): What `compare` runs; its weights are given their gradients too.
    """
    if not (student.requires_grad and torch.is_grad_enabled()):
        return compare(student)
    leaf = student.detach().float().requires_grad_()
    value = compare(leaf)
    if not (isinstance(value, torch.Tensor) and value.ndim == 0 and value.requires_grad):
        return value
    inputs = [student, *(p for p in own.parameters() if p.requires_grad)]
    found = torch.autograd.grad(value, [leaf, *inputs[1:]], allow_unused=True)
    used = [(g, x) for g, x in zip(found, inputs) if g is not None]
    return KnownGradient.apply(value.detach(), [g for g, _ in used], *(x for _, x in used))


def summed(each: Callable[..., torch.Tensor], student: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    """Return the sum of a function over pieces of tensors (N, ...), with the gradient of the student's.

    A piece is one image on a CPU, where it stays in the cache, and all of them elsewhere. The function takes a piece of
    each tensor and of the gradient, which it fills, and returns a scalar.
    """
    size = 1 if student.device.type == "cpu" else max(len(student), 1)
    with torch.no_grad():
        gradient = torch.empty_like(student)
        pieces = zip(*(x.split(size) for x in (student, *others, gradient)))
        value = torch.stack([each(*x) for x in pieces]).sum()
    return KnownGradient.apply(value, [gradient], student) if student.requires_grad else value


def softmax_kl(
    student: torch.Tensor, teacher: torch.Tensor, tau: float, dim: int, weight: torch.Tensor
) -> torch.Tensor:
    """Return sum(weight * tau^2 * KL(softmax(teacher / tau) || softmax(student / tau))) with softmax over `dim`.

    Its gradient is weight * tau * (softmax(student / tau) - softmax(teacher / tau)).

    Args:
        student (torch.Tensor): Logits (N, ...); the gradient goes here.
        teacher (torch.Tensor): Logits of the same shape, without gradient.
        tau (float): Temperature.
        dim (int): The softmax's dimension.
        weight (torch.Tensor): Weight of each distribution, with N rows and size 1 at `dim`, without gradient.

    Returns:
        (torch.Tensor): Scalar.
    """

    def each(s: torch.Tensor, t: torch.Tensor, w: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        s, t = (x / tau if tau != 1 else x for x in (s, t))
        p_s, p_t = torch.softmax(s, dim, out=g), t.softmax(dim)
        # log(p_t / p_s) is t - s and a number for each distribution: no logarithm of whole maps
        ratio = (t - s).add_(log_total(s, p_s, dim) - log_total(t, p_t, dim))
        value = (ratio.mul_(p_t).sum(dim, keepdim=True) * w).sum() * tau**2
        p_s.sub_(p_t).mul_(w * tau)
        return value

    return summed(each, student, teacher, weight)


def log_total(logits: torch.Tensor, softmax: torch.Tensor, dim: int) -> torch.Tensor:
    """Return log(sum(exp(logits))) over `dim`, kept with size 1, from the largest logit and its softmax."""
    return logits.amax(dim, keepdim=True) - softmax.amax(dim, keepdim=True).log()


def focal_bce(student: torch.Tensor, target: torch.Tensor, beta: float) -> torch.Tensor:
    """Return sum(|q - p|^beta * BCE(p, q)), p = sigmoid(student), q = target, for a `beta` of at least 1.

    Its gradient, also through the factor in front, is with e = p - q

        sign(e) * (|e|^(beta + 1) + beta * |e|^(beta - 1) * p * (1 - p) * BCE(p, q)).
    """

    def each(x: torch.Tensor, q: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        bce = F.binary_cross_entropy_with_logits(x, q, reduction="none")
        p = torch.sigmoid(x, out=g)
        error = p - q
        size = error.abs()
        value = ((size if beta == 1 else size**beta) * bce).sum()
        p.addcmul_(p, p, value=-1).mul_(bce)  # p (1 - p) BCE, in the gradient's place
        if beta == 1:
            p.addcmul_(size, size)
        else:
            p.mul_(beta).mul_(size ** (beta - 1)).add_(size ** (beta + 1))
        p.mul_(error.sign_())
        return value

    return summed(each, student, target)


def weighted_bce(student: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return sum(weight * (BCE(p, q) - H(q))), p = sigmoid(student), q = target, H its entropy.

    Its gradient is weight * (p - q). All three have one shape.
    """

    def each(x: torch.Tensor, q: torch.Tensor, w: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        torch.sigmoid(x, out=g).sub_(q).mul_(w)
        return (F.binary_cross_entropy_with_logits(x, q, reduction="none").add_(negative_entropy(q)) * w).sum()

    return summed(each, student, target, weight)


def negative_entropy(p: torch.Tensor) -> torch.Tensor:
    """Return -H(p) = p log p + (1 - p) log(1 - p) for probabilities of yes or no."""
    return torch.xlogy(p, p).add_(torch.xlogy(1 - p, 1 - p))
