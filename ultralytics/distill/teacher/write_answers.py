# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Writes what teachers say of a set of images into a file, once, for any number of trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from ultralytics.distill.answers.extra import Extra, extra_of
from ultralytics.distill.answers.file import FLOOR, footer, header, is_answers, line, read_begun, sha256
from ultralytics.distill.answers.final import is_detector, is_stretched
from ultralytics.distill.answers.images import Images, list_images
from ultralytics.distill.answers.outlines import beside, padded, unpadded
from ultralytics.distill.answers.table import TASKS
from ultralytics.distill.boxes import Boxes, corners, pixels
from ultralytics.distill.image_files import named
from ultralytics.distill.runtime.distributed import loader_workers
from ultralytics.distill.spelling import split_list
from ultralytics.distill.teacher.source import Source, resolve, teachers_of
from ultralytics.distill.teacher.views import TeacherPredictor, merge_views
from ultralytics.distill.values import number, plain, switch, whole
from ultralytics.utils import LOGGER, TQDM
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.torch_utils import select_device


def write_answers(
    model_t: Any,
    data: str | Path | Sequence[str | Path],
    save: str | Path = "answers.jsonl",
    split: str = "train",
    imgsz: int | Sequence[int] = 640,
    flip: bool = False,
    conf: float = 0.05,
    batch: int = 16,
    device: Any = None,
    workers: int = 8,
) -> Path:
    """Write what one or several teachers say of images; goes on where it was interrupted.

    Images that cannot be read are named and left out.

    Args:
        model_t (Any): A teacher or a list of them, as `model_t` of a training.
        data (str | Path | list): A data set's YAML, a folder of images, a list of files or a glob; or several of these.
        save (str | Path): The file (.jsonl).
        split (str): Which images of the data set; those under `unlabeled` in its YAML belong to `train`.
        imgsz (int | Sequence[int]): Longer side of the images that the teachers see, in pixels; several are merged.
        flip (bool): Whether they see each image mirrored too.
        conf (float): Score from which a box is written.
        batch (int): Images at a time.
        device (Any): Where the teachers run, as `device=` of a training.
        workers (int): Processes that load images.

    Returns:
        (Path): The file.

    Raises:
        ValueError: If an argument does not fit, a teacher has no boxes, or the file was begun by others; one sentence.
        FileNotFoundError: If there is no such teacher or image.
    """
    flip, conf = switch("flip", flip), number("conf", conf, least=0, most=1)
    batch, workers, save = whole("batch", batch, least=1), whole("workers", workers), Path(save)
    given = split_list(imgsz) if isinstance(imgsz, (str, list, tuple)) else [imgsz]
    sizes = [whole("imgsz", x, least=32) for x in given or [imgsz]]
    if save.suffix != ".jsonl":
        raise ValueError(f"'save={save}' must end in .jsonl.")
    sources = _detectors(model_t, max(sizes))
    stride = max(int(max(s.module.stride)) for s in sources)
    sizes = list(dict.fromkeys(check_imgsz(x, stride=stride) for x in sizes))
    names, extra = _all_names(sources), _common_extra(sources)
    files, spec = list_images(data, split)
    info = [{"file": s.name, "sha256": sha256(s.path)} for s in sources]
    where = {"data": plain(data), "split": split}
    told = {"teachers": info, "imgsz": sizes, "flip": flip, "conf": conf, **_kind(extra), **where}
    first = header(names, **told)
    done, size, complete = read_begun(save, first)
    channels = spec.get("channels", 3)
    images = Images(files, max(sizes), done, channels, any(is_stretched(s.module) for s in sources))
    if complete and not len(images):
        LOGGER.info(f"{save} is whole already.")
        return save
    mirror = _flip_idx(spec, extra.points) if flip and extra.name == "keypoints" else flip
    place = select_device("" if device is None else device, verbose=False)
    speakers = [TeacherPredictor(s, names, extra.name, sizes, mirror, conf, place, channels) for s in sources]
    loader = DataLoader(images, batch, num_workers=loader_workers(workers), collate_fn=images.collate_fn)
    broken: list[str] = []
    save.parent.mkdir(parents=True, exist_ok=True)
    with open(save, "r+b" if save.is_file() else "wb") as f:
        f.truncate(size)
        f.seek(size)
        f.write(b"" if size else first.encode())
        for text in TQDM(_lines(loader, speakers, conf, place, broken), total=len(images), desc=save.name):
            f.write(text.encode())
        f.write(footer(len(done) + len(images) - len(broken)).encode())
    if broken:
        LOGGER.warning(f"{len(broken)} of {len(files)} images cannot be read and are left out: {named(broken)}")
    return save


def _detectors(model_t: Any, size: int) -> list[Source]:
    """Return the teachers, each of which has final boxes; a module of another library is tried at a size."""
    found = []
    for teacher in teachers_of(model_t):
        if is_answers(teacher):
            raise ValueError(f"'model_t={teacher}' is a file of answers already; give the models that are to answer.")
        source = resolve(teacher, Path("teacher.pt"), size)
        if source.module is None or not is_detector(source.module.model[-1]):
            raise ValueError(f"'model_t={teacher}' names no boxes; give a detector.")
        found.append(source)
    return found


def _lines(
    loader: DataLoader, speakers: Sequence[TeacherPredictor], conf: float, device: torch.device, broken: list[str]
) -> Iterator[str]:
    """Yield each image's line; files that are no images are added to `broken`."""
    for some in loader:
        broken += some["broken"]
        if not some["img"]:
            continue
        kinds = {k: torch.stack(some[k]).to(device).float() / 255 for k in ("img", "stretched") if some[k]}
        count, _, height, width = kinds["img"].shape
        size = height, width
        views = [v for speaker in speakers for v in _look(speaker, kinds, size, some["shape"])]
        found = merge_views(views, count, conf, size)
        for i, (name, shape) in enumerate(zip(some["name"], some["shape"])):
            yield _line(name, shape, size, found[found.image == i])


def _look(
    speaker: TeacherPredictor,
    kinds: dict[str, torch.Tensor],
    size: tuple[int, int],
    shapes: Sequence[tuple[int, int]],
) -> list[Boxes]:
    """Return what a teacher says in each view, its boxes as shares of the images (N, C, H, W) letterboxed to a size."""
    if not speaker.stretched:
        return speaker(kinds["img"])
    return [padded(found, size, shapes) for found in speaker(kinds["stretched"])]


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
