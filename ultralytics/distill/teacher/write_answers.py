# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Writes what teachers say of a set of images into a file, once, for any number of trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from ultralytics.data.utils import check_det_dataset
from ultralytics.distill.answers.extra import Extra, extra_of
from ultralytics.distill.answers.file import FLOOR, footer, header, line, read_begun, sha256
from ultralytics.distill.answers.final import is_detector
from ultralytics.distill.answers.images import Images
from ultralytics.distill.answers.outlines import beside, unpadded
from ultralytics.distill.answers.table import TASKS
from ultralytics.distill.boxes import Boxes, corners, pixels
from ultralytics.distill.runtime.distributed import loader_workers
from ultralytics.distill.teacher.source import Source, resolve, teachers_of
from ultralytics.distill.teacher.views import TeacherPredictor, merge_views
from ultralytics.utils import LOGGER, TQDM
from ultralytics.utils.torch_utils import select_device


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
    names, extra = _all_names(sources), _common_extra(sources)
    info = [{"file": s.name, "sha256": sha256(s.path)} for s in sources]
    told = {"teachers": info, "imgsz": sizes, "flip": bool(flip), "conf": conf, **_kind(extra)}
    save = Path(save)
    if save.suffix != ".jsonl":
        raise ValueError(f"'save={save}' must end in .jsonl.")
    done = read_begun(save, header(names, **told))
    if done is None:
        LOGGER.info(f"{save} is whole already.")
        return save
    where, root, spec = _images(str(data), split)
    channels = spec.get("channels", 3)
    mirror = _flip_idx(spec, extra.points) if flip and extra.name == "keypoints" else bool(flip)
    images = Images(where, root, max(sizes), done, channels)
    place = select_device("" if device is None else device, verbose=False)
    speakers = [TeacherPredictor(s, names, extra.name, sizes, mirror, conf, place, channels) for s in sources]
    with open(save, "a", encoding="utf-8") as f:
        for text in TQDM(_lines(images, speakers, conf, batch, workers, place), total=len(images), desc=f"{save.name}"):
            f.write(text)
        f.write(footer(len(done) + len(images)))
    return save


def _lines(
    images: Images, speakers: Sequence[TeacherPredictor], conf: float, batch: int, workers: int, device: torch.device
) -> Iterator[str]:
    """Yield each image's line."""
    for some in DataLoader(images, batch, num_workers=loader_workers(workers), collate_fn=images.collate_fn):
        shown = some["img"].to(device).float() / 255
        size = shown.shape[2], shown.shape[3]
        found = merge_views([x for speaker in speakers for x in speaker(shown)], len(shown), conf, size)
        for i, (name, shape) in enumerate(zip(some["name"], some["shape"])):
            yield _line(name, shape, size, found[found.image == i])


def _line(name: str, shape: tuple[int, int], size: tuple[int, int], found: Boxes) -> str:
    """Return an image's line; its boxes are shares of the letterboxed image of a size (H, W)."""
    more = beside(found, size, shape)
    if found.boxes.shape[1] == 5:
        ends = torch.stack([torch.stack([x.amin(0), x.amax(0)]) for x in more["segments"]] or [torch.zeros(2, 2)])
    else:
        ends = unpadded(corners(pixels(found.boxes.cpu(), size)).view(-1, 2, 2), size, shape)
    first, last = ends[: len(found)].clamp(0, 1).unbind(1)
    real = [all(len(v[i]) for v in more.values()) for i in range(len(found))]
    keep = (last > first).all(1) & torch.tensor(real, dtype=torch.bool)
    told = {k: [x.flatten().tolist() for x, kept in zip(v, keep) if kept] for k, v in more.items()}
    boxes = torch.cat([(first + last) / 2, last - first], 1)[keep]
    rows = [{k: v for k, v in enumerate(s) if v >= FLOOR} for s in found.scores.cpu()[keep].tolist()]
    values = [list(r.values()) for r in rows]
    return line(name, (shape[0], shape[1]), boxes.tolist(), [list(r) for r in rows], values, **told)


def _images(data: str, split: str) -> tuple[Any, str | Path, dict[str, Any]]:
    """Return where the images are, below which folder they are named, and what the data's YAML says."""
    if not data.endswith((".yaml", ".yml")):
        return data, Path(data).resolve().parent, {}
    spec = check_det_dataset(data)
    if not spec.get(split):
        raise ValueError(f"'split={split}' is not in 'data={data}'; give train, val or test.")
    return spec[split], spec["path"], spec


def _all_names(sources: Sequence[Source]) -> dict[int, str]:
    """Return the classes that any of the teachers knows, those of the first in front."""
    names: dict[str, str] = {}
    for source in sources:
        for name in source.module.names.values():
            names.setdefault(str(name).strip().lower(), str(name))
    return dict(enumerate(names.values()))


def _common_extra(sources: Sequence[Source]) -> Extra:
    """Return what all teachers say of a box beside its classes; say what not all of them do."""
    found = [extra_of(s.module) for s in sources]
    if len({x.name == "angles" for x in found}) > 1:
        kinds = {x.name == "angles": s.name for x, s in zip(found, sources)}
        raise ValueError(
            f"'model_t' names a teacher of rotated boxes, {kinds[True]}, and one of upright ones, {kinds[False]}, "
            f"which do not merge; write a file for each."
        )
    if all(x == found[0] for x in found):
        return found[0]
    LOGGER.warning(
        f"The teachers do not all have the same {next(x.name for x in found if x.name)}; the file gets boxes and "
        f"classes alone."
    )
    return Extra()


def _kind(extra: Extra) -> dict[str, Any]:
    """Return how a file's first line tells what stands beside its boxes."""
    task = next(k for k, v in TASKS.items() if v == extra.name)
    shape = {"kpt_shape": [extra.points, 3]} if extra.points else {}
    return {"task": task, **shape} if extra.name else {}


def _flip_idx(spec: dict[str, Any], points: int) -> list[int]:
    """Return which keypoint is which in the mirror image, or raise a ValueError where the data does not say."""
    index = list(spec.get("flip_idx") or [])
    if sorted(index) != list(range(points)):
        raise ValueError(
            f"'flip=True' mirrors keypoints, and 'data' does not tell by a 'flip_idx' of {points} which of them is "
            f"which then; add it to the YAML, or leave flip out."
        )
    return index
