# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What makes a frozen teacher's forward cheap, and where each step of it pays; told by capability, never by a clock.

A clock would decide one run this way and its repetition the other, and 16 bits are not the numbers of 32.
"""

from __future__ import annotations

import torch
from torch import nn

from ultralytics.distill.align import memory_format
from ultralytics.distill.graph import head_inputs, probe
from ultralytics.distill.teacher.live import deepcopy_teacher


def fuse(model: nn.Module) -> None:
    """Fold BatchNorms into convolutions in place, keeping both branches of an end-to-end head.

    Upstream's own `fuse` would drop one branch of YOLOv10 and YOLO26 heads; it asks the head to do so, and is told no.
    """
    head = model.model[-1]
    head.fuse = lambda: None
    try:
        with torch.no_grad():  # 8.3 would leave a graph behind the folded weights
            model.fuse(verbose=False)
    finally:
        del head.fuse
    model.eval()  # 8.3 makes new convolutions in train mode


def choose_dtype(precision: str, device: torch.device, amp: bool, bf16: bool) -> torch.dtype:
    """Choose the precision of the teacher's forward.

    `auto` is bfloat16 on CPUs that multiply it natively, what AMP uses on CUDA, float32 elsewhere.
    """
    if precision != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    if device.type == "cpu":
        return torch.bfloat16 if native_bf16() else torch.float32
    if device.type == "cuda" and amp:
        return torch.bfloat16 if bf16 else torch.float16
    return torch.float32


def native_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 natively (AVX512-BF16 or AMX)."""
    if hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return any(getattr(torch.cpu, f"_is_{x}_supported", bool)() for x in ("avx512_bf16", "amx_tile"))


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


def choose_format(device: torch.device, student: nn.Module | None = None) -> torch.memory_format:
    """Choose how the teacher's weights and maps lie in memory: channels last on CPUs, as oneDNN has them.

    Elsewhere as the student's trainer laid it out, which knows the device, the platform and `channels_last=`: upstream
    found the order slow on Windows and wrong on Apple's GPUs.
    """
    weights = () if student is None else student.parameters()
    last = any(w.ndim == 4 and memory_format(w) == torch.channels_last for w in weights)
    return torch.channels_last if last or device.type == "cpu" else torch.contiguous_format


def explain(precision: str, device: torch.device, dtype: torch.dtype) -> str:
    """Return the precision and, in two or three words, why."""
    name = str(dtype).replace("torch.", "")
    if precision != "auto":
        return f"{name} (distill_precision={precision})"
    if device.type == "cpu":
        return f"{name} ({'native' if dtype == torch.bfloat16 else 'no native bfloat16'} on this CPU)"
    return f"{name} ({'as AMP' if dtype != torch.float32 else 'AMP is off'})"
