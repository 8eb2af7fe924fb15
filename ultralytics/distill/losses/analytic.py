# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Sums whose gradients are written out, so that one tensor is kept for backward instead of up to six."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
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


def softmax_kl(
    student: torch.Tensor, teacher: torch.Tensor, tau: float, dim: int, weight: torch.Tensor | float
) -> torch.Tensor:
    """Return sum(weight * tau^2 * KL(softmax(teacher / tau) || softmax(student / tau))) with softmax over `dim`.

    Its gradient is weight * tau * (softmax(student / tau) - softmax(teacher / tau)).

    Args:
        student (torch.Tensor): Logits; the gradient goes here.
        teacher (torch.Tensor): Logits of the same shape, without gradient.
        tau (float): Temperature.
        dim (int): The softmax's dimension.
        weight (torch.Tensor | float): Weight of each distribution, with size 1 at `dim`, without gradient.

    Returns:
        (torch.Tensor): Scalar.
    """
    with torch.no_grad():
        gradient, values = torch.empty_like(student), []
        weights = pieces(weight)[0] if isinstance(weight, torch.Tensor) else [weight] * len(student)
        for s, t, g, w in zip(*pieces(student, teacher, gradient), weights):
            s, t = (x / tau if tau != 1 else x for x in (s, t))
            p_s, p_t = torch.softmax(s, dim, out=g), t.softmax(dim)
            # log(p_t / p_s) is t - s and a number for each distribution: no logarithm of whole maps
            ratio = (t - s).add_(log_total(s, p_s, dim) - log_total(t, p_t, dim))
            values.append((ratio.mul_(p_t).sum(dim, keepdim=True) * w).sum())
            p_s.sub_(p_t).mul_(w * tau)
        value = torch.stack(values).sum() * tau**2
    return KnownGradient.apply(value, [gradient], student) if student.requires_grad else value


def log_total(logits: torch.Tensor, softmax: torch.Tensor, dim: int) -> torch.Tensor:
    """Return log(sum(exp(logits))) over `dim`, kept with size 1, from the largest logit and its softmax."""
    return logits.amax(dim, keepdim=True) - softmax.amax(dim, keepdim=True).log()


def focal_bce(student: torch.Tensor, target: torch.Tensor, beta: float) -> torch.Tensor:
    """Return sum(|q - p|^beta * BCE(p, q)), p = sigmoid(student), q = target.

    Its gradient, also through the factor in front, is with e = p - q

        sign(e) * (|e|^(beta + 1) + beta * |e|^(beta - 1) * p * (1 - p) * BCE(p, q)).

    Args:
        student (torch.Tensor): Logits; the gradient goes here.
        target (torch.Tensor): Probabilities of the same shape, without gradient.
        beta (float): Exponent, at least 1.

    Returns:
        (torch.Tensor): Scalar.
    """
    with torch.no_grad():
        gradient, values = torch.empty_like(student), []
        for x, q, g in zip(*pieces(student, target, gradient)):
            bce = F.binary_cross_entropy_with_logits(x, q, reduction="none")
            p = torch.sigmoid(x, out=g)
            error = p - q
            size = error.abs()
            values.append(((size if beta == 1 else size**beta) * bce).sum())
            p.addcmul_(p, p, value=-1).mul_(bce)  # p (1 - p) BCE, in the gradient's place
            if beta == 1:
                p.addcmul_(size, size)
            else:
                p.mul_(beta).mul_(size ** (beta - 1)).add_(size ** (beta + 1))
            p.mul_(error.sign_())
        value = torch.stack(values).sum()
    return KnownGradient.apply(value, [gradient], student) if student.requires_grad else value


def weighted_bce(student: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return sum(weight * (BCE(p, q) - H(q))), p = sigmoid(student), q = target, H its entropy.

    Its gradient is weight * (p - q).

    Args:
        student (torch.Tensor): Logits; the gradient goes here.
        target (torch.Tensor): Probabilities of the same shape, without gradient.
        weight (torch.Tensor): Weights of the same shape, without gradient.

    Returns:
        (torch.Tensor): Scalar.
    """
    with torch.no_grad():
        gradient, values = torch.empty_like(student), []
        for x, q, w, g in zip(*pieces(student, target, weight, gradient)):
            entropy = torch.xlogy(q, q).add_(torch.xlogy(1 - q, 1 - q))
            values.append((F.binary_cross_entropy_with_logits(x, q, reduction="none").add_(entropy) * w).sum())
            torch.sigmoid(x, out=g).sub_(q).mul_(w)
        value = torch.stack(values).sum()
    return KnownGradient.apply(value, [gradient], student) if student.requires_grad else value


def pieces(*tensors: torch.Tensor) -> list[Sequence[torch.Tensor]]:
    """Cut tensors (N, ...) into images on a CPU, where one at a time stays in the cache; elsewhere keep them whole."""
    size = 1 if tensors[0].device.type == "cpu" else max(len(tensors[0]), 1)
    return [x.split(size) for x in tensors]
