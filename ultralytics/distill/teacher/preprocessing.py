# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a teacher sees of the student's images: a size, channels and a normalisation of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.distill.config import Config
from ultralytics.distill.inference import input_channels

LUMA = (0.299, 0.587, 0.114)  # red, green and blue in gray: ITU-R BT.601, as OpenCV reads images in gray


class Preprocessing:
    """Turns the student's images into the teacher's.

    Fitting the images fits the teacher's first convolution to the data: one channel shown in each of three is the same
    as the sum of its weights over the three, and channels left out are weights left out. It also serves teachers that
    normalise, and those that do not begin with a convolution.

    Args:
        given (int): Channels of the student's images.
        channels (int): Channels the teacher takes.
        size (int | tuple[int, int] | None): Pixels of the longer side, the ratio of the sides kept, or height and
            width. None for the student's own size.
        multiple (int): Sides are rounded up to a multiple of it.
        mean (Sequence[float] | None): Subtracted, one number or one a channel.
        std (Sequence[float] | None): Divided by after that.
        device (torch.device | str): Where the images are.
    """

    def __init__(
        self,
        given: int,
        channels: int,
        size: int | tuple[int, int] | None = None,
        multiple: int = 1,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
    ):
        """Keep the numbers, the normalisation as a map (1, C, 1, 1)."""
        self.given, self.channels, self.size, self.multiple = given, channels, size, multiple
        self.mean = None if mean is None else torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self.std = None if std is None else torch.tensor(std, device=device).view(1, -1, 1, 1)
        self.words, self.recolour = self._channels(device)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the teacher's images (N, C', H', W') of the student's (N, C, H, W), 0 to 1."""
        images = self.recolour(self.resize(images))
        images = images if self.mean is None else images - self.mean
        return images if self.std is None else images / self.std

    def resize(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images in the teacher's size, smoothed where it is smaller."""
        given = list(images.shape[2:])
        if self.size is None:
            return images
        if isinstance(self.size, int):
            ratio = self.size / max(given)
            sides = [math.ceil(round(x * ratio / self.multiple, 6)) * self.multiple for x in given]
        else:
            sides = list(self.size)
        if sides == given:
            return images
        shrinks = sides[0] < given[0] or sides[1] < given[1]
        return F.interpolate(images.float(), sides, mode="bilinear", align_corners=False, antialias=shrinks)

    def _channels(self, device: torch.device | str) -> tuple[str, Callable[[torch.Tensor], torch.Tensor]]:
        """Return how the student's channels become the teacher's, in words and as a function of images."""
        given, wanted = self.given, self.channels
        if given == wanted:
            return "", lambda x: x
        if given == 1:
            return f"the data's one channel in each of its {wanted}", lambda x: x.expand(-1, wanted, -1, -1)
        if wanted == 1:
            share = torch.tensor(LUMA if given == 3 else [1 / given] * given, device=device).view(1, -1, 1, 1)
            words = "the data's colours as gray" if given == 3 else f"the mean of the data's {given} channels"
            return words, lambda x: (x * share.to(x.dtype)).sum(1, keepdim=True)
        if given > wanted:
            return f"the first {wanted} of the data's {given} channels", lambda x: x[:, :wanted]
        words = f"the data's {given} channels in the first of its {wanted}, nothing in the others"
        return words, lambda x: F.pad(x, (0, 0, 0, 0, 0, wanted - given))

    def describe(self) -> str:
        """Return what is done to the images, e.g. `, sees the first 3 of the data's 10 channels`; often nothing."""
        said = []
        if isinstance(self.size, int):
            said.append(f"images of {self.size} pixels on the longer side")
        elif self.size is not None:
            said.append(f"images of {self.size[0]}x{self.size[1]} pixels")
        if self.words:
            said.append(self.words)
        if self.mean is not None or self.std is not None:
            said.append("values normalised by a mean and deviation of its own")
        return f", sees {', '.join(said)}" if said else ""


def build_preprocessing(config: Config, student: nn.Module, teacher: nn.Module, device: torch.device) -> Preprocessing:
    """Build what turns the student's images into a teacher's."""
    channels, multiple = check_preprocessing(config, teacher)
    return Preprocessing(input_channels(student), channels, config.imgsz, multiple, config.mean, config.std, device)


def check_preprocessing(config: Config, teacher: nn.Module) -> tuple[int, int]:
    """Return the channels a teacher takes and what its images' sides must be multiples of; raise what does not fit."""
    channels, multiple = input_channels(teacher), int(max(getattr(teacher, "stride", [1])))
    sides = [] if config.imgsz is None else [config.imgsz] if isinstance(config.imgsz, int) else config.imgsz
    if any(x % multiple for x in sides):
        near = [max(round(x / multiple), 1) * multiple for x in sides]
        raise ValueError(
            f"'distill_imgsz={config.imgsz}' must be a multiple of {multiple}, the teacher's largest stride; "
            f"{near[0] if len(near) == 1 else near} would do."
        )
    for name, values in (("distill_mean", config.mean), ("distill_std", config.std)):
        if values is not None and len(values) not in {1, channels}:
            raise ValueError(
                f"'{name}={values}' has {len(values)} numbers for the teacher's {channels} channels; give one, or one "
                f"for each."
            )
    return channels, multiple
