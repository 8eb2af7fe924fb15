"""The unlabelled images come round for ever, each process has its own, and an interrupted run goes on where it was."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ultralytics.distill.runtime.distributed import loader_workers
from ultralytics.distill.unlabeled.loader import GREY, InfiniteLoader, InfiniteSampler, fit_answers, fit_size


def flat(rounds, batches):
    """Return the indices of the next batches."""
    return [i for batch in islice(rounds, batches) for i in batch]


def test_workers_are_as_many_as_cores(monkeypatch):
    """Processes share the cores for the loading of images; who asks for fewer, or none, gets these."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert [loader_workers(*x) for x in ((8,), (8, 2), (2,), (0,), (8, 8))] == [4, 2, 2, 0, 0]


def test_every_round_has_every_image_once():
    """In another order each time, by the seed; batches are full where a round ends inside one."""
    drawn = flat(InfiniteSampler(7, 3), 7)
    turns = [drawn[i : i + 7] for i in range(0, 21, 7)]
    assert all(sorted(t) == list(range(7)) for t in turns) and turns[0] != turns[1] != turns[2]
    assert drawn == flat(InfiniteSampler(7, 3), 7) and drawn != flat(InfiniteSampler(7, 3, seed=1), 7)


def test_fewer_images_than_a_batch():
    """They come round within one."""
    assert Counter(flat(InfiniteSampler(2, 5), 2)) == {0: 5, 1: 5}


def test_each_process_has_a_part_of_its_own():
    """Together they draw each round once, as one process with a batch as large would."""
    parts = [flat(InfiniteSampler(10, 2, rank=r, world=3), 5) for r in range(3)]
    joined = [i for step in zip(*parts) for i in step]
    assert all(sorted(joined[i : i + 10]) == list(range(10)) for i in (0, 10, 20))
    assert joined == flat(InfiniteSampler(10, 6), 5)


def test_a_place_is_gone_back_to():
    """What was loaded ahead counts for nothing: only what was drawn."""
    endless = InfiniteLoader(range(9), InfiniteSampler(9, 2), DataLoader(range(9)), 0)
    first = [endless.draw().tolist() for _ in range(3)]
    again = InfiniteLoader(range(9), InfiniteSampler(9, 2), DataLoader(range(9)), 0)
    again.rounds.drawn = endless.rounds.drawn
    assert sum(first, []) == flat(InfiniteSampler(9, 2), 3) and endless.rounds.drawn == 6
    endless.restart()
    assert endless.draw().tolist() == again.draw().tolist() == flat(InfiniteSampler(9, 2), 4)[6:]


def test_images_are_cut_and_not_stretched():
    """By the longer side they keep their scale: to a wide batch a square one loses what a letterbox filled up."""
    image = torch.full((1, 1, 64, 64), 0.9)
    image[:, :, 16:48] = 0.1  # a wide image in a square
    assert torch.equal(fit_size(image, (32, 64)), image[:, :, 16:48])
    half = fit_size(image, (16, 32))
    assert half.shape[2:] == (16, 32) and (half - 0.1).abs().max() < 1e-6


def test_smaller_images_are_filled_with_grey():
    """A square batch from wide images has upstream's grey above and below, and odd sizes fit to the pixel."""
    found = fit_size(torch.zeros(2, 3, 32, 64), (64, 64))
    assert found.shape == (2, 3, 64, 64) and found[0, 0, 0, 0].item() == pytest.approx(GREY) and found[0, 0, 32, 0] == 0
    assert fit_size(torch.zeros(1, 3, 33, 64), (45, 47)).shape[2:] == (45, 47)
    same = torch.zeros(1, 3, 8, 8)
    assert fit_size(same, (8, 8)) is same


@pytest.mark.parametrize("extra", ["", "masks", "keypoints", "angles"])
def test_answers_go_where_their_images_go(extra):
    """What is said of a square image lies on the same object in a wide batch, and is cut off with it."""
    image = torch.zeros(1, 1, 64, 64)
    image[:, :, 8:40, 16:32] = 1.0
    boxes = [[24 / 64, 24 / 64, 16 / 64, 32 / 64], [0.5, 0.05, 0.2, 0.1]]  # the second is wholly in the cut part
    rows = np.array([[*b, *[0.0] * (extra == "angles"), 0.9, 0.1] for b in boxes], np.float32)
    more = {"answers": (rows,)}
    if extra == "masks":
        more["answers_masks"] = (torch.stack([image[0, 0, ::4, ::4], torch.zeros(16, 16)]),)
    if extra == "keypoints":
        more["answers_keypoints"] = (torch.tensor([[[16.0, 8, 1], [32, 40, 1]], [[32, 2, 1], [32, 4, 1]]]) / 64,)
        more["answers_keypoints"][0][..., 2] = 1.0
    like = {"answers_masks": (torch.zeros(0, 8, 16),)}
    found, shown = fit_answers({"img": image, **more}, (32, 64), like, extra), fit_size(image, (32, 64))[0, 0]
    top, left = (shown.nonzero().amin(0) / torch.tensor([32, 64])).tolist()
    low, right = ((shown.nonzero().amax(0) + 1) / torch.tensor([32, 64])).tolist()
    (told,) = found["answers"]
    if extra == "angles":  # stays whole: upstream's augmentations do not cut it either
        assert told.tolist() == [[0.375, 0.25, 0.25, 1.0, 0, pytest.approx(0.9), pytest.approx(0.1)]]
        return
    assert told.tolist() == [pytest.approx([(left + right) / 2, (top + low) / 2, right - left, low - top, 0.9, 0.1])]
    if extra == "masks":
        assert torch.equal(found["answers_masks"][0], shown[None, ::4, ::4])
    if extra == "keypoints":
        assert found["answers_keypoints"][0].tolist() == [[[0.25, -0.25, 0], [0.5, 0.75, 1]]]
    same = {"img": image, **more}
    assert fit_answers(same, (64, 64), like, extra) is same and fit_answers({"img": image}, (32, 64), {}, "")
