# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Focal and global distillation."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import FGD
from ultralytics.distill.losses import fgd as module
from ultralytics.distill.losses.fgd import upright
from ultralytics.utils.ops import xywhr2xyxyxyxy

BOX = {"bboxes": torch.tensor([[0.1, 0.5, 0.18, 0.8]]), "batch_idx": torch.zeros(1)}


def test_by_hand():
    """Map of 1 x 4 cells, one channel, T = 0, so its attention is 1 everywhere. S = (1, 2, 3, 4).

    The box spans x 0.04 to 0.76 cells, so cells 0 to 1 (floor to ceil), and y 0.1 to 0.9, rows 0 to 1: area 2 * 2.
    Objects (1 + 4) / 4 = 1.25, background (9 + 16) / 2 = 12.5, relation (nothing added yet) 1 + 4 + 9 + 16 = 30.
    1 * 1.25 + 0.1 * 12.5 + 0.01 * 30 = 2.8.
    """
    loss = FGD(alpha_fgd=1, beta_fgd=0.1, gamma_fgd=0, lambda_fgd=0.01, channels_t=1)
    student = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    assert loss(student, torch.zeros_like(student), BOX).item() == pytest.approx(2.8)


def test_attention_by_hand():
    """S / temp = (0, ln 3): spatial attention 2 * (1/4, 3/4) = (0.5, 1.5) against (1, 1): 1. One channel: 0.

    The same transposed, two channels and one position, is the channels' part. Times gamma 3: 3 each.
    """
    loss = FGD(alpha_fgd=0, beta_fgd=0, gamma_fgd=3, lambda_fgd=0, temp=0.5, channels_t=1)
    student = torch.tensor([0, 0.5 * math.log(3)]).view(1, 1, 1, 2)
    assert loss(student, torch.zeros_like(student), BOX).item() == pytest.approx(3)
    loss = FGD(alpha_fgd=0, beta_fgd=0, gamma_fgd=3, lambda_fgd=0, temp=0.5, channels_t=2)
    student = student.view(1, 2, 1, 1)
    assert loss(student, torch.zeros_like(student), BOX).item() == pytest.approx(3)


def loop_masks(n, h, w, batch):
    """Draw the masks cell by cell."""
    fg, bg = torch.zeros(n, h, w, dtype=torch.float64), torch.zeros(n, h, w, dtype=torch.float64)
    for (cx, cy, bw, bh), image in zip(batch["bboxes"].tolist(), batch["batch_idx"].tolist()):
        x1, x2 = math.floor((cx - bw / 2) * w), math.ceil((cx + bw / 2) * w)
        y1, y2 = math.floor((cy - bh / 2) * h), math.ceil((cy + bh / 2) * h)
        for y in range(h):
            for x in range(w):
                if y1 <= y <= y2 and x1 <= x <= x2:
                    fg[int(image), y, x] = max(fg[int(image), y, x], 1 / ((x2 - x1 + 1) * (y2 - y1 + 1)))
    for i in range(n):
        bg[i] = (fg[i] == 0).double() / max((fg[i] == 0).sum(), 1)
    return fg, bg


def loop(c):
    """Sum the formula image by image and cell by cell."""
    f, (n, ch, h, w) = c.loss, c.teacher.shape
    fg, bg = loop_masks(n, h, w, c.batch)
    total = 0
    for i in range(n):
        s, t = c.student[i], c.teacher[i]
        a_s = [(x.abs().mean(0) / f.temp).flatten().softmax(0).view(h, w) * h * w for x in (s, t)]
        a_c = [(x.abs().mean((1, 2)) / f.temp).softmax(0) * ch for x in (s, t)]
        for y in range(h):
            for x in range(w):
                m = f.alpha_fgd * fg[i, y, x] + f.beta_fgd * bg[i, y, x]
                for k in range(ch):
                    total += m * a_s[1][y, x] * a_c[1][k] * (s[k, y, x] - t[k, y, x]) ** 2
        total += f.gamma_fgd * sum((a[0] - a[1]).abs().sum() for a in (a_s, a_c))
        total += f.lambda_fgd * (context(f.relation_s, s) - context(f.relation_t, t)).square().sum()
    return total / n


def context(block, x):
    """Add the global context to a map (C, H, W), from the layers' weights."""
    first, norm, _, last = block.add
    key = torch.einsum("c,chw->hw", block.key.weight[0, :, 0, 0], x) + block.key.bias
    pooled = (x * key.flatten().softmax(0).view_as(key)).sum((1, 2))
    hidden = first.weight[:, :, 0, 0] @ pooled + first.bias
    hidden = (hidden - hidden.mean()) / (hidden.var(correction=0) + norm.eps).sqrt()
    hidden = (hidden * norm.weight.flatten() + norm.bias.flatten()).relu()
    return x + (last.weight[:, :, 0, 0] @ hidden + last.bias).view(-1, 1, 1)


@pytest.mark.parametrize("objects", [True, False])
def test_loop(case, objects):
    """All four parts, with relation blocks that do something."""
    c = case("fgd", alpha_fgd=0.3, beta_fgd=0.2, gamma_fgd=0.1, lambda_fgd=0.05, temp=0.7, objects=objects)
    for p in c.loss.parameters():
        p.data += torch.randn_like(p)
    torch.testing.assert_close(c(), loop(c), rtol=1e-9, atol=0)


def test_masks(monkeypatch):
    """Overlapping, crossing, tiny and outermost boxes, in several chunks: the smallest box on a cell decides."""
    monkeypatch.setattr(module, "CHUNK", 3)
    g = torch.Generator().manual_seed(0)
    boxes = torch.rand(20, 4, generator=g, dtype=torch.float64) * torch.tensor([1, 1, 0.6, 0.6])
    boxes[0] = torch.tensor([0.5, 0.5, 1.0, 1.0])
    batch = {"bboxes": boxes, "batch_idx": torch.randint(0, 3, (20,), generator=g).float()}
    maps = torch.zeros(4, 2, 7, 11, dtype=torch.float64)  # the last image has no box
    for got, expected in zip(FGD(channels_t=2).masks(maps, batch), loop_masks(4, 7, 11, batch)):
        torch.testing.assert_close(got.view_as(expected), expected)


def test_rows_are_not_columns():
    """A wide box on a map that is not square; the first public version of the authors' code had them transposed."""
    fg, bg = FGD(channels_t=1).masks(torch.zeros(1, 1, 2, 5), BOX | {"bboxes": torch.tensor([[0.5, 0.2, 0.9, 0.1]])})
    assert fg.view(2, 5)[0].tolist() == [pytest.approx(1 / 12)] * 5  # 0.25 to 4.75 and 0.3 to 0.5: 6 by 2 cells
    assert fg.view(2, 5)[1].tolist() == pytest.approx([1 / 12] * 5)  # the ceil counts, as in the authors' code
    assert not bg.any()


def test_relation_blocks_are_registered_and_start_empty():
    """Student and teacher have blocks of their own, which are trained and saved, and at first add nothing."""
    loss = FGD(channels_t=4)
    assert {k.split(".")[0] for k in loss.state_dict()} == {"relation_s", "relation_t"}
    assert not loss.relation_s(torch.randn(2, 4, 3, 3)).any()


@pytest.mark.parametrize("height, width", [(64, 64), (32, 64)])
def test_turned_boxes_count_with_their_hulls(height, width):
    """Of a rotated box the upright hull is drawn: that of its corners, also in an image that is not square."""
    box = torch.tensor([[0.5, 0.5, 0.4, 0.2, 0.6]])
    corners = xywhr2xyxyxyxy(box * torch.tensor([width, height, width, height, 1.0]))[0]
    low, high = corners.min(0).values, corners.max(0).values
    found = torch.stack(upright(box, height / width)).flatten()
    sides = (high - low) / torch.tensor([width, height])
    torch.testing.assert_close(found, torch.cat([torch.tensor([0.5, 0.5]), sides]))
    assert torch.equal(torch.stack(upright(box[:, :4], 1.0)).T, box[:, :4])
