# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What can be told of streams and recorded graphs without a GPU: the order of calls, and when a recording is used."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from ultralytics.distill.teacher.cuda import REPEATS, Beside, Recorded, record


class Stream:
    """A stream that writes down what it is told."""

    def __init__(self, name, log):
        """Keep the log."""
        self.name, self.log, self.device = name, log, torch.device("cuda")

    def wait_stream(self, other):
        """Write down who waits for whom."""
        self.log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def streams(monkeypatch):
    """Streams of a GPU that is not there; returns what they are told."""
    log = []
    current = Stream("student", log)

    @contextmanager
    def enter(stream):
        log.append(f"on {stream.name}")
        yield
        log.append(f"off {stream.name}")

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("teacher", log))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    monkeypatch.setattr(torch.cuda, "stream", enter)
    return log


def test_order_of_streams(streams, make_model, make_step, make_batch):
    """The teacher waits for the batch, the student's forward does not wait for the teacher, the terms do."""
    step = make_step(make_model(), make_model(seed=1, trained=True), distill_feat="mgd")
    step.__dict__["beside"] = Beside(torch.device("cuda"))
    step.teacher.model.model[0].register_forward_pre_hook(lambda *_: streams.append("teacher"))
    step.student.model[0].register_forward_pre_hook(lambda *_: streams.append("student"))
    step.distiller.register_forward_pre_hook(lambda *_: streams.append("terms"))
    step(make_batch())
    start = ["teacher waits for student", "on teacher", "teacher", "off teacher"]
    assert streams == [*start, "student", "student waits for teacher", "terms"]
    del streams[:]
    step.weight = 0.0
    step(make_batch())
    assert streams == ["student"]


def test_no_stream_on_a_cpu():
    """There is nothing to wait for."""
    beside = Beside(torch.device("cpu"))
    with beside.run():
        pass
    beside.join()
    assert beside.stream is None


def test_recorded_after_repeats():
    """One shape a few times in a row is recorded; another one runs as it is; the recorded one comes again."""
    ran, recorded = [], []

    def forward(x):
        ran.append(tuple(x.shape))
        return x * 2

    def recorder(f, x):
        recorded.append(tuple(x.shape))
        return lambda new: f(new) + 0

    run, a, b = Recorded(forward, recorder), torch.rand(2, 3, 8, 8), torch.rand(2, 3, 4, 4)
    for _ in range(REPEATS):
        run(a)
        run(b)  # never twice in a row
    assert not recorded
    for _ in range(REPEATS):
        assert torch.equal(run(a), a * 2)
    assert not recorded and torch.equal(run(a), a * 2) and recorded == [(2, 3, 8, 8)]
    assert torch.equal(run(b), b * 2) and torch.equal(run(a), a * 2) and len(recorded) == 1


def test_another_order_in_memory_is_not_replayed():
    """Channels-last images of the same shape are another recording."""
    calls = []
    run = Recorded(lambda x: x, lambda f, x: lambda new: calls.append(1))
    images = torch.rand(2, 3, 8, 8)
    for _ in range(REPEATS + 1):
        run(images)
    assert len(calls) == 1
    run(images.contiguous(memory_format=torch.channels_last))
    assert len(calls) == 1


def test_what_cannot_be_recorded_runs(log):
    """An error while recording is said once, and the run goes on without."""
    tries = []

    def recorder(f, x):
        tries.append(1)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    run, images = Recorded(lambda x: x + 1, recorder), torch.rand(1, 3, 4, 4)
    for _ in range(REPEATS + 3):
        assert torch.equal(run(images), images + 1)
    assert tries == [1] and len([x for x in log() if "without a CUDA graph (operation not permitted" in x]) == 1


def test_recording_copies_the_images_in(monkeypatch):
    """What is replayed reads the new images and hands on the same memory."""
    kernels = []
    graph = SimpleNamespace(replay=lambda: [k() for k in kernels])

    @contextmanager
    def capture(g, capture_error_mode):
        assert g is graph and capture_error_mode == "thread_local"
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    out = torch.empty(2)

    def forward(x):
        kernels.append(lambda: torch.mul(x, 2, out=out))
        return out

    replay, new = record(forward, torch.zeros(2)), torch.tensor([3.0, 4.0])
    assert replay(new) is out and out.tolist() == [6.0, 8.0] and len(kernels) == 1
