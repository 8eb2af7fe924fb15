# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A frozen convolution and its activation as one call of oneDNN, with weights laid out once, on a CPU."""

from __future__ import annotations

import torch
from torch import nn

ACTIVATIONS = {nn.SiLU: "swish", nn.ReLU: "relu", nn.Identity: "none"}  # ours to torch's `mkldnn` operators


class OneDNNConv:
    """The forward of a frozen `Conv` whose BatchNorm is folded into its convolution.

    The activation is applied to oneDNN's fp32 sums before they are rounded, which saves a pass over the map and an
    error of 16 bits. Weights are laid out for the first input's size, and only so kept; another size gives the same
    values.
    """

    def __init__(self, conv: nn.Conv2d, activation: str):
        """Keep what the operator asks for."""
        self.conv, self.activation, self.weight = conv, activation, None  # the weight is laid out at the first call
        self.form = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activated map (N, C', H', W') of a map (N, C, H, W)."""
        if self.weight is None:
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(self.conv.weight, *self.form, list(x.shape))
            self.conv.register_parameter("weight", None)
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.conv.bias, *self.form, self.activation, [], ""
        )


def use_onednn(model: nn.Module) -> int:
    """Give the fused `Conv` blocks of a frozen model on a CPU a packed forward, in place."""
    from ultralytics.nn.modules.conv import Conv

    blocks = [m for m in model.modules() if isinstance(m, Conv) and not hasattr(m, "bn")]
    blocks = [m for m in blocks if type(m.act) in ACTIVATIONS and m.conv.padding_mode == "zeros"]
    if not blocks or not supported(blocks[0].conv.weight.dtype):
        return 0
    for m in blocks:
        m.forward = OneDNNConv(m.conv, ACTIVATIONS[type(m.act)])
    return len(blocks)


def supported(dtype: torch.dtype) -> bool:
    """Whether torch's oneDNN operators are there and compute in a precision what torch's own do."""
    if not torch.backends.mkldnn.is_available():
        return False
    conv = nn.utils.skip_init(nn.Conv2d, 1, 1, 3, bias=False).requires_grad_(False)  # draws no random number
    x = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
    conv.weight.copy_(torch.linspace(-1, 1, 9).view(1, 1, 3, 3))
    expected = nn.functional.silu(conv(x))
    try:
        found = OneDNNConv(conv.to(dtype), "swish")(x.to(dtype))
    except (AttributeError, RuntimeError):  # another torch, or a CPU without this precision
        return False
    return torch.allclose(found.float(), expected, atol=0.1)
