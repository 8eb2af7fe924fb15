# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The teacher's kernels beside the student's on a GPU: a stream of their own, launched as one recorded graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ultralytics.distill.values import reason
from ultralytics.utils import LOGGER

REPEATS = 3  # batches of one shape in a row before its kernels are recorded; they warm cuDNN and the allocator up, too


class Beside:
    """A stream on which a frozen teacher runs while the student's forward runs on the current one.

    On a CPU, and on devices without streams, everything stays where it is.

    Args:
        device (torch.device): Where both run.
    """

    def __init__(self, device: torch.device):
        """Open the stream."""
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def run(self) -> Iterator[None]:
        """Launch what is in the block on the stream, after all that the current stream has been given so far.

        That order also keeps memory safe: a map freed by one stream is taken again by it only in a later block, and by
        the other only after `join`.
        """
        if self.stream is None:
            yield
            return
        self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))
        with torch.cuda.stream(self.stream):
            yield

    def join(self) -> None:
        """Let the current stream wait for the block's results; the host does not wait."""
        if self.stream is not None:
            torch.cuda.current_stream(self.stream.device).wait_stream(self.stream)

    def __deepcopy__(self, memo: dict) -> Beside:
        """Return itself: a stream is no state of a model."""
        return self


def record(forward: Callable[[torch.Tensor], Any], images: torch.Tensor) -> Callable[[torch.Tensor], Any]:
    """Record the kernels of a forward as a CUDA graph.

    Args:
        forward (Callable): Takes images (N, C, H, W); no synchronisation, the same kernels for the same shape.
        images (torch.Tensor): Images of the shape to record, on a GPU.

    Returns:
        (Callable): The same forward for images of this shape. What it returns is overwritten by the next call.
    """
    graph, shown = torch.cuda.CUDAGraph(), images.clone()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # the loader's pinning thread goes on meanwhile
        result = forward(shown)

    def replay(new: torch.Tensor) -> Any:
        shown.copy_(new)
        graph.replay()
        return result

    return replay


class Recorded:
    """A forward that is recorded once its images have had one shape a few times in a row, and run as it is otherwise.

    Multi-scale training changes the shape from batch to batch: what was recorded is used when its shape comes again.

    Args:
        forward (Callable): Takes images (N, C, H, W).
        recorder (Callable): `record`, or what a test puts in its place.
    """

    def __init__(self, forward: Callable[[torch.Tensor], Any], recorder: Callable = record):
        """Begin without a recording."""
        self.forward = forward
        self.recorder: Callable | None = recorder
        self.replay: Callable[[torch.Tensor], Any] | None = None
        self.form: tuple | None = None
        self.seen = 0

    def __call__(self, images: torch.Tensor) -> Any:
        """Return what the forward returns."""
        form = images.shape, images.dtype, images.stride()
        if self.replay is not None:
            return self.replay(images) if form == self.form else self.forward(images)
        self.seen = self.seen + 1 if form == self.form else 1
        self.form = form
        if self.seen <= REPEATS or self.recorder is None:
            return self.forward(images)
        try:
            replay = self.replay = self.recorder(self.forward, images)
        except RuntimeError as e:
            LOGGER.info(f"Distillation: the teacher runs without a CUDA graph ({reason(e)})")
            self.recorder = None
            return self.forward(images)
        return replay(images)
