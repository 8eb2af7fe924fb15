# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Assembled masks."""

from __future__ import annotations

import math

import pytest
import torch

from ultralytics.distill.losses import Mask


def one(logit: float, **more) -> dict:
    """Return a dict of one image of 8 x 8 pixels: one anchor of confidence 3/4, box 4 x 4, a mask of one logit."""
    proto, boxes = torch.full((1, 1, 4, 4), logit), torch.full((1, 4, 1), 0.25)
    head = {"scores": torch.full((1, 1, 1), math.log(3)), "boxes": boxes, "shapes": [(1, 1)], "strides": [8.0]}
    return {**head, "mask_coefficient": torch.ones(1, 1, 1), "proto": proto, **more}


def test_by_hand():
    """With p = 1/2 against q = 3/4 everywhere: w_a / Z = 0.75 / 1, KL = ln 2 - H(3/4) = 0.693147 - 0.562335."""
    assert Mask()(one(0.0), one(math.log(3))).item() == pytest.approx(0.75 * 0.130812, rel=1e-5)


def test_only_the_teachers_box_counts():
    """The box covers pixels 2 to 6 of 8, cells 1 and 2 of 4: what the student says elsewhere makes no difference."""
    student, teacher = one(0.0), one(math.log(3))
    outside = student["proto"].clone()
    outside[0, 0, 0], outside[..., 3] = 9.0, -9.0
    assert torch.equal(Mask()({**student, "proto": outside}, teacher), Mask()(student, teacher))
    student["proto"][0, 0, 1, 2] = 1.0
    assert not torch.isclose(Mask()(student, teacher), Mask()(one(0.0), teacher))


@pytest.mark.parametrize("top", [1, 3, 32])
def test_naive_loop(case, top):
    """Pixel by pixel, anchor by anchor, image by image, for models with other numbers of prototypes."""
    c = case("mask", n=3, top=top)
    c.student |= {k: c.student[k][:, :5].clone() for k in ("mask_coefficient", "proto")}
    c.teacher["boxes"] = 2 * c.teacher["boxes"]  # bins far enough apart for boxes of several sizes
    s, t = c.student, c.teacher
    cells = [(x + 0.5, y + 0.5, v) for (h, w), v in zip(s["shapes"], s["strides"]) for y in range(h) for x in range(w)]
    height, width = (k * 8 for k in s["shapes"][0])
    value, weights = 0.0, 0.0
    for i in range(3):
        confidence = [max(t["scores"][i, :, a].sigmoid().tolist()) for a in range(len(cells))]
        for a in sorted(range(len(cells)), key=lambda a: -confidence[a])[:top]:
            x, y, stride = cells[a]
            bins = t["boxes"][i, :, a].view(4, 4).softmax(1)
            left, upper, right, lower = (sum(j * p for j, p in enumerate(side.tolist())) for side in bins)
            inside = []
            for row in range(8):
                for column in range(6):
                    px, py = (column + 0.5) * width / 6, (row + 0.5) * height / 8
                    if (x - left) * stride <= px < (x + right) * stride and (y - upper) * stride <= py < (
                        y + lower
                    ) * stride:
                        p, q = (
                            sum(d["mask_coefficient"][i, m, a] * d["proto"][i, m, row, column]
                                for m in range(d["proto"].shape[1])).sigmoid().item() for d in (s, t)
                        )  # fmt: skip
                        inside.append(q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p)))
            value += confidence[a] * sum(inside) / max(len(inside), 1)
            weights += confidence[a]
    assert c().item() == pytest.approx(value / max(weights, 1), rel=1e-6) and value > 0


def test_unlike_prototypes_are_resampled():
    """A teacher's masks of another size are brought to the student's; a constant one stays what it is."""
    teacher = one(math.log(3), proto=torch.full((1, 1, 8, 8), math.log(3)))
    assert torch.isclose(Mask()(one(0.0), teacher), Mask()(one(0.0), one(math.log(3))))
