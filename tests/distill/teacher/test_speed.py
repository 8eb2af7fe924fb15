# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Precision and memory format of the teacher, by what the device can do."""

from __future__ import annotations

import pytest
import torch

from ultralytics.distill.teacher.speed import choose_dtype, choose_format, explain, native_bf16

CPU = torch.device("cpu")


def test_precision():
    """Named precisions are taken; `auto` is what the device multiplies natively, and fp32 elsewhere."""
    cuda, mps = torch.device("cuda"), torch.device("mps")
    assert choose_dtype("fp32", cuda, True, True) == torch.float32
    assert choose_dtype("bf16", CPU, False, False) == torch.bfloat16
    assert choose_dtype("fp16", CPU, False, False) == torch.float16
    assert choose_dtype("auto", CPU, True, True) == (torch.bfloat16 if native_bf16() else torch.float32)
    assert choose_dtype("auto", cuda, True, True) == torch.bfloat16
    assert choose_dtype("auto", cuda, True, False) == torch.float16
    assert choose_dtype("auto", cuda, False, True) == torch.float32 == choose_dtype("auto", mps, True, True)


@pytest.mark.parametrize("has, native", [({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True)])
def test_native_bf16(has, native, monkeypatch):
    """Either of the two instruction sets will do."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert native_bf16() is native


@pytest.mark.parametrize(
    "device, dtype, capability, last",
    [
        ("cpu", torch.float32, None, True),
        ("cpu", torch.bfloat16, None, True),
        ("cuda", torch.float16, (7, 0), True),
        ("cuda", torch.float16, (6, 1), False),
        ("cuda", torch.float32, (9, 0), False),
        ("mps", torch.float32, None, False),
    ],
)
def test_format(device, dtype, capability, last, monkeypatch):
    """Channels last where the device multiplies maps in that order."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_format(torch.device(device), dtype) == (torch.channels_last if last else torch.contiguous_format)


def test_the_decision_is_said():
    """The printed formula names the precision and why."""
    cuda = torch.device("cuda")
    assert explain("bf16", CPU, torch.bfloat16) == "bfloat16 (distill_precision=bf16)"
    assert explain("auto", CPU, torch.bfloat16) == "bfloat16 (native on this CPU)"
    assert explain("auto", CPU, torch.float32) == "float32 (no native bfloat16 on this CPU)"
    assert explain("auto", cuda, torch.float16) == "float16 (as AMP)"
    assert explain("auto", cuda, torch.float32) == "float32 (AMP is off)"
