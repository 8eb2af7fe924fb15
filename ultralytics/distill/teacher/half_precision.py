# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Whether a teacher with modules of its own runs in 16 bits."""

from __future__ import annotations

import torch
from torch import nn

from ultralytics.distill.graph import head_inputs, probe
from ultralytics.distill.teacher.live import deepcopy_teacher


def supports_dtype(dtype: torch.dtype, model: nn.Module, device: torch.device) -> bool:
    """Try a model in a precision, if it holds modules that are neither PyTorch's nor Ultralytics'.

    Such a module may make float32 tensors of its own on the way, which a 16-bit convolution refuses.
    """
    known = all(type(m).__module__.split(".")[0] in {"torch", "ultralytics"} for m in model.modules())
    traced = any(isinstance(m, torch.jit.ScriptModule) for m in model.modules())  # holds whoever's code
    if (known and not traced) or dtype == torch.float32:
        return True
    if next(model.parameters(), None) is None:  # a frozen trace keeps its numbers to itself
        return False
    own = deepcopy_teacher(model)
    try:
        probe(own.to(device, dtype), head_inputs(own))
    except (RuntimeError, ValueError):
        return False
    return True
