# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Precision and memory format of the teacher, by what the device can do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

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


@pytest.mark.parametrize("device, given, last", [
    ("cpu", torch.contiguous_format, True), ("cuda", torch.channels_last, True),
    ("cuda", torch.contiguous_format, False), ("mps", torch.contiguous_format, False), ("cuda", None, False),
])  # fmt: skip
def test_format(device, given, last, make_model):
    """Channels last on CPUs, elsewhere as the trainer laid the student out, whatever moved it to do so."""
    student = given and make_model().to(memory_format=given)
    assert choose_format(torch.device(device), student) == (torch.channels_last if last else torch.contiguous_format)


def test_weights_without_an_order():
    """1x1 and depthwise convolutions lie in both orders at once, and say nothing."""
    student = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Linear(4, 4))
    assert choose_format(torch.device("cuda"), student) == torch.contiguous_format
    student.append(nn.Conv2d(4, 4, 3)).to(memory_format=torch.channels_last)
    assert choose_format(torch.device("cuda"), student) == torch.channels_last


def test_the_decision_is_said():
    """The printed formula names the precision and why."""
    cuda = torch.device("cuda")
    assert explain("bf16", CPU, torch.bfloat16) == "bfloat16 (distill_precision=bf16)"
    assert explain("auto", CPU, torch.bfloat16) == "bfloat16 (native on this CPU)"
    assert explain("auto", CPU, torch.float32) == "float32 (no native bfloat16 on this CPU)"
    assert explain("auto", cuda, torch.float16) == "float16 (as AMP)"
    assert explain("auto", cuda, torch.float32) == "float32 (AMP is off)"
