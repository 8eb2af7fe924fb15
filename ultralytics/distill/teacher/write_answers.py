# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Writes what teachers say of a set of images into a file, once, for any number of trainings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.ops import batched_nms

from ultralytics.data.utils import check_det_dataset
from ultralytics.distill.answers.file import FLOOR, footer, header, line, read_begun
from ultralytics.distill.answers.final import NMS, final_boxes, is_detector
from ultralytics.distill.answers.images import Images
from ultralytics.distill.boxes import Boxes, corners, join, overlaps
from ultralytics.distill.dummy_input import input_channels
from ultralytics.distill.heads.classes import class_map
from ultralytics.distill.heads.common import head_strides
from ultralytics.distill.teacher.frozen import Teacher
from ultralytics.distill.teacher.preprocessing import Preprocessing
from ultralytics.distill.teacher.source import Source, resolve, teachers_of
from ultralytics.utils import LOGGER, TQDM
from ultralytics.utils.ops import scale_boxes
from ultralytics.utils.torch_utils import select_device


class TeacherPredictor:
    """A teacher that says of images what it sees at one or several sizes, and in their mirror images.

    Args:
        source (Source): The teacher.
        names (dict[int, str]): The classes of the file.
        sizes (Sequence[int]): Longer sides of the images that it sees, in pixels.
        flip (bool): Whether it sees each image mirrored too.
        conf (float): Score from which a box stands.
        device (torch.device): Where it runs.
        given (int): Channels of the images.
    """

    def __init__(
        self,
        source: Source,
        names: dict[int, str],
        sizes: Sequence[int],
        flip: bool,
        conf: float,
        device: torch.device,
        given: int = 3,
    ):
        """Build the teacher, frozen and fused."""
        self.classes, self.count = class_map(names, source.module.names), len(names)
        self.flips, self.conf, self.strides = (False, True) if flip else (False,), conf, head_strides(source.module)
        channels, multiple = input_channels(source.module), int(max(source.module.stride))
        self.views = [Preprocessing(given, channels, size, multiple) for size in sizes]
        self.teacher = Teacher(source, [], True, False, device, torch.float32)  # what is written stays

    def __call__(self, images: torch.Tensor) -> list[Boxes]:
        """Return what it says of images (N, C, H, W), 0 to 1, in each view."""
        found = []
        for view in self.views:
            for flip in self.flips:
                seen = view(images).flip(3) if flip else view(images)
                boxes = final_boxes(self.teacher(seen).output, self.strides, self.classes, self.count, self.conf)
                if flip:
                    boxes.boxes[:, 0] = 1 - boxes.boxes[:, 0]
                found.append(boxes)
        return found


def merge_views(views: Sequence[Boxes], images: int, conf: float) -> Boxes:
    """Return one answer out of several: boxes by non-maximum suppression, scores as the mean over all views.

    A view in which nothing overlaps a box by half counts with score 0 for it.

    Args:
        views (Sequence[Boxes]): What was said in each view.
        images (int): Images of the batch.
        conf (float): Mean score from which a box stands.

    Returns:
        (Boxes): The boxes.
    """
    if len(views) == 1:
        return views[0]
    every = views[0]
    for view in views[1:]:
        every = join(every, view)
    count = every.scores.shape[1]
    best = every.scores.amax(1)
    kept = every[batched_nms(corners(every.boxes), best, every.cls + every.image * count, NMS).sort().values]
    if not len(kept):
        return kept
    mean = torch.zeros_like(kept.scores)
    for view in (v for v in views if len(v)):
        overlap = overlaps(*(corners(x.padded(x.boxes, images)) for x in (kept, view)))
        same = kept.padded(kept.cls + 1, images)[:, :, None] == view.padded(view.cls + 1, images)[:, None]
        value, index = (overlap * same).max(2)
        at = kept.image, kept.slots()
        mean += view.padded(view.scores, images)[kept.image, index[at]] * (value[at] >= 0.5)[:, None] / len(views)
    return Boxes(kept.image, kept.boxes, kept.cls, mean)[mean.amax(1) >= conf]


def write_answers(
    model_t: Any,
    data: str | Path,
    save: str | Path = "answers.jsonl",
    split: str = "train",
    imgsz: int | Sequence[int] = 640,
    flip: bool = False,
    conf: float = 0.05,
    batch: int = 16,
    device: Any = None,
    workers: int = 8,
) -> Path:
    """Write what one or several teachers say of a data set's images; goes on where it was interrupted.

    Args:
        model_t (Any): A teacher or a list of them, as `model_t` of a training.
        data (str | Path): A data set's YAML, or a folder of images.
        save (str | Path): The file (.jsonl).
        split (str): Which images of the data set.
        imgsz (int | Sequence[int]): Longer side of the images that the teachers see, in pixels; several are merged.
        flip (bool): Whether they see each image mirrored too.
        conf (float): Score from which a box is written.
        batch (int): Images at a time.
        device (Any): Where the teachers run, as `device=` of a training.
        workers (int): Processes that load images.

    Returns:
        (Path): The file.

    Raises:
        ValueError: If a teacher has no boxes, or the file was begun by others; one sentence.
    """
    sizes = [imgsz] if isinstance(imgsz, int) else list(imgsz)
    given = teachers_of(model_t)
    sources = [resolve(t, Path("teacher.pt"), max(sizes)) for t in given]
    for text, source in zip(given, sources):
        if source.module is None or not is_detector(source.module.model[-1]):
            raise ValueError(f"'model_t={text}' names no boxes; give a detector.")
    names = _all_names(sources)
    info = [{"file": s.name, "sha256": _sha256(s.path)} for s in sources]
    told = {"teachers": info, "imgsz": sizes, "flip": bool(flip), "conf": conf}
    save = Path(save)
    if save.suffix != ".jsonl":
        raise ValueError(f"'save={save}' must end in .jsonl.")
    done = read_begun(save, header(names, **told))
    if done is None:
        LOGGER.info(f"{save} is whole already.")
        return save
    where, root, channels = _images(str(data), split)
    images = Images(where, root, max(sizes), done, channels)
    place = select_device("" if device is None else device, verbose=False)
    speakers = [TeacherPredictor(s, names, sizes, flip, conf, place, channels) for s in sources]
    with open(save, "a", encoding="utf-8") as f:
        for text in TQDM(_lines(images, speakers, conf, batch, workers, place), total=len(images), desc=f"{save.name}"):
            f.write(text)
        f.write(footer(len(done) + len(images)))
    return save


def _lines(
    images: Images, speakers: Sequence[TeacherPredictor], conf: float, batch: int, workers: int, device: torch.device
) -> Iterator[str]:
    """Yield each image's line."""
    for some in DataLoader(images, batch, num_workers=workers, collate_fn=images.collate_fn):
        shown = some["img"].to(device).float() / 255
        found = merge_views([x for speaker in speakers for x in speaker(shown)], len(shown), conf)
        for i, (name, shape) in enumerate(zip(some["name"], some["shape"])):
            yield _line(name, shape, (shown.shape[2], shown.shape[3]), found[found.image == i])


def _line(name: str, shape: tuple[int, int], size: tuple[int, int], found: Boxes) -> str:
    """Return an image's line; its boxes are shares of the letterboxed image of a size (H, W)."""
    height, width = shape
    pixels = corners(found.boxes.cpu()) * torch.tensor([size[1], size[0]] * 2)
    pixels = scale_boxes(size, pixels, shape)
    first, last = (x / torch.tensor([width, height]) for x in pixels.split(2, 1))
    boxes, real = torch.cat([(first + last) / 2, last - first], 1), ((last - first) > 0).all(1)
    rows = [{k: v for k, v in enumerate(s) if v >= FLOOR} for s in found.scores.cpu()[real].tolist()]
    return line(name, (height, width), boxes[real].tolist(), [list(r) for r in rows], [list(r.values()) for r in rows])


def _images(data: str, split: str) -> tuple[Any, str | Path, int]:
    """Return where the images are, below which folder they are named, and their channels."""
    if not data.endswith((".yaml", ".yml")):
        return data, Path(data).resolve().parent, 3
    spec = check_det_dataset(data)
    if not spec.get(split):
        raise ValueError(f"'split={split}' is not in 'data={data}'; give train, val or test.")
    return spec[split], spec["path"], spec.get("channels", 3)


def _all_names(sources: Sequence[Source]) -> dict[int, str]:
    """Return the classes that any of the teachers knows, those of the first in front."""
    names: dict[str, str] = {}
    for source in sources:
        for name in source.module.names.values():
            names.setdefault(str(name).strip().lower(), str(name))
    return dict(enumerate(names.values()))


def _sha256(path: Path) -> str:
    """Return what a teacher's file is told by, nothing for a teacher without a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
