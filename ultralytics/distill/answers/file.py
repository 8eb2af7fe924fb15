# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Reads and writes files of answers: our own lines of JSON, which hold all class scores, and COCO's results."""

from __future__ import annotations

import hashlib
import io
import json
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ultralytics.distill.answers.coco import pack_coco
from ultralytics.distill.answers.table import TASKS, Table
from ultralytics.distill.runtime.errors import reason

VERSION = 1
ENDINGS = (".json", ".jsonl")
FLOOR = 0.01  # scores below it are not written; an absent score is 0


def is_answers(value: Any) -> bool:
    """Whether a teacher is given by a file of answers."""
    return isinstance(value, (str, Path)) and str(value).lower().endswith(ENDINGS)


def sha256(path: Path) -> str:
    """Return what a file's bytes are told by, nothing where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def read_answers(path: str | Path) -> Table:
    """Read a file of answers, our own (.jsonl) or a list of results or a data set in COCO's format (.json).

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no such file, is incomplete, or holds what is no box or score; one sentence.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"'model_t={path}' does not exist; 'python distill.py answers' writes such a file.")
    try:
        with open(path, encoding="utf-8") as f:
            table = _pack_lines(f) if path.suffix.lower() == ".jsonl" else pack_coco(f)
        table.require_sound()
        return table
    except UnicodeDecodeError:
        raise ValueError(f"'model_t={path}' is no text file; give a file of answers (.json, .jsonl).") from None
    except json.JSONDecodeError as e:
        raise ValueError(f"'model_t={path}' is no JSON from line {e.lineno} on ({e.msg}); write it anew.") from None
    except ValueError as e:
        raise ValueError(f"'model_t={path}' {reason(e)}.") from None


def header(names: dict[int, str], **told: Any) -> str:
    """Return the first line of a file: its version, its classes, and what else is told."""
    return json.dumps({"answers": VERSION, "names": {str(k): v for k, v in names.items()}, **told}) + "\n"


def line(image: str, shape: tuple[int, int], boxes: list, classes: list, scores: list, **more: list) -> str:
    """Return an image's line.

    Args:
        image (str): Its path below the data set's folder, with slashes.
        shape (tuple[int, int]): Height and width in pixels.
        boxes (list[list[float]]): x and y of the centre, width and height, as shares of the image's own.
        classes (list[list[int]]): For each box the classes that have a score.
        scores (list[list[float]]): Their scores.
        **more (list[list[float]]): For each box `segments`, x and y of an outline's points, or `keypoints`, x, y and
            the visibility of each, all as shares.
    """
    told = {"boxes": _rounded(boxes), "classes": classes, "scores": _rounded(scores, 4)}
    return json.dumps({"image": image, "shape": shape, **told, **{k: _rounded(v) for k, v in more.items()}}) + "\n"


def _rounded(rows: list[list[float]], digits: int = 5) -> list[list[float]]:
    """Return rows of numbers with so many digits."""
    return [[round(v, digits) for v in x] for x in rows]


def footer(images: int) -> str:
    """Return the last line, without which a file is incomplete."""
    return json.dumps({"images": images}) + "\n"


def read_begun(path: Path, first: str) -> tuple[list[str], int, bool]:
    """Find what a file that was begun has; nothing is changed.

    Args:
        path (Path): The file; it need not be there.
        first (str): Its first line.

    Returns:
        images (list[str]): Those that it has.
        size (int): Bytes that may stay when it goes on, without its end line and without a line that was cut off.
        whole (bool): Whether it has its end line.

    Raises:
        ValueError: If its first line is not `first`: it was begun by other teachers, or in another way.
    """
    begun: list[str] = []
    size = 0
    with open(path, "rb") if path.is_file() else io.BytesIO() as f:
        for number, text in enumerate(f):
            if number == 0 and not first.encode().startswith(text):
                raise ValueError(
                    f"'save={path}' was begun by other teachers, for other data, or with another split, imgsz, flip or "
                    f"conf; give a new file."
                )
            if not text.endswith(b"\n"):  # cut off
                break
            try:
                item = json.loads(text)
                if number and "image" not in item:
                    return begun, size, True
                begun += [item["image"]] if number else []
            except (ValueError, TypeError):
                raise ValueError(
                    f"'save={path}' is no file of answers in line {number + 1}; give a new file."
                ) from None
            size += len(text)
    return begun, size, False


class Packer:
    """Takes answers image by image and packs them, with `masks`, `keypoints`, `angles` or nothing beside each box."""

    def __init__(self, extra: str = "", points: int = 0) -> None:
        """Start empty."""
        self.extra, self.count = extra, points
        self.numbers, self.outline = array("f"), array("q", [0])
        self.images: list[str] = []
        self.shapes, self.first, self.boxes = array("i"), array("q", [0]), array("f")
        self.start, self.cls, self.score = array("q", [0]), array("i"), array("f")

    def image(
        self,
        name: str,
        shape: Sequence[int],
        boxes: Sequence[Sequence[float]],
        classes: Sequence[Sequence[int]],
        scores: Sequence[Sequence[float]],
        more: Sequence[Sequence[float]] = (),
    ) -> None:
        """Add an image with its boxes, of each box the classes that have a score, and its outline or its keypoints.

        What is no number is a TypeError, what does not go together a ValueError with the rest of a sentence.
        """
        sizes = [list(map(len, x)) for x in (boxes, classes, scores)]
        if any(n != 4 for n in sizes[0]) or sizes[1] != sizes[2] or len(sizes[0]) != len(sizes[1]) or 0 in sizes[1]:
            raise ValueError("has not four numbers and as many classes as scores for each box")
        if self.extra:
            self._require_more([len(x) for x in more], len(boxes))
            self.numbers.extend(chain.from_iterable(more))
            self.outline.extend(accumulate((len(x) // 2 for x in more), initial=self.outline.pop()))
        self.images.append(name)
        self.shapes.extend(shape)
        self.boxes.extend(chain.from_iterable(boxes))
        self.cls.extend(chain.from_iterable(classes))
        self.score.extend(chain.from_iterable(scores))
        self.start.extend(accumulate(sizes[1], initial=self.start.pop()))
        self.first.append(len(self.start) - 1)

    def _require_more(self, sizes: list[int], boxes: int) -> None:
        """Raise a ValueError, the rest of a sentence, unless there is an outline or are keypoints for each box."""
        sound = {
            "masks": ("a polygon of three points or more", lambda n: n >= 6 and n % 2 == 0),
            "angles": ("four corners, eight numbers,", lambda n: n == 8),
            "keypoints": (f"{self.count} keypoints of three numbers", lambda n: n == 3 * self.count),
        }
        what, fits = sound[self.extra]
        if len(sizes) != boxes or not all(map(fits, sizes)):
            raise ValueError(f"has not {what} for each box")

    def table(self, names: dict[int, str], told: dict[str, Any] | None = None) -> Table:
        """Return what was packed."""
        shapes, boxes = np.array(self.shapes, np.int32).reshape(-1, 2), np.array(self.boxes, np.float32).reshape(-1, 4)
        start, cls, score = (np.asarray(x) for x in (self.start, self.cls, self.score))
        more: dict[str, Any] = {}
        numbers = np.array(self.numbers, np.float32)
        if self.extra == "keypoints":
            more["keypoints"] = numbers.reshape(-1, self.count, 3)
        elif self.extra:
            more.update(points=numbers.reshape(-1, 2), outline=np.asarray(self.outline))
        return Table(names, self.images, shapes, np.asarray(self.first), boxes, start, cls, score, told or {}, **more)


def _pack_lines(f: TextIO) -> Table:
    """Return the table of our own file, or raise a ValueError with the rest of a sentence."""
    packer, told, complete = Packer(), None, None  # anew once the header says of what
    for number, text in enumerate(f, 1):
        if not text.endswith("\n"):  # cut off in writing
            break
        item = json.loads(text)
        if not isinstance(item, dict):
            raise ValueError(f"is no file of answers: its line {number} is no object")
        if told is None:
            told = _require_header(item)
            packer = Packer(TASKS[told.get("task", "detect")], (told.get("kpt_shape") or [0])[0])
        elif complete is not None:
            raise ValueError(f"goes on behind its end in line {number}")
        elif "image" in item:
            _pack_image(packer, item, number)
        else:
            complete = item.get("images")
    if told is None or complete != len(packer.images):
        had = f"{complete} images" if complete is not None else "an end line"
        raise ValueError(
            f"is incomplete: it has {len(packer.images)} images and misses {had}; run 'python distill.py answers' "
            f"once more, which goes on where it stopped"
        )
    table = packer.table(told.pop("names"), told)
    if len(strange := np.setdiff1d(table.cls, list(table.names))):
        raise ValueError(f"has a score of class {strange[0]}, which its 'names' do not list")
    return table


def _require_header(item: dict[str, Any]) -> dict[str, Any]:
    """Return a file's first line with class indices for keys, or raise a ValueError."""
    if item.get("answers") != VERSION or not isinstance(item.get("names"), dict) or not item["names"]:
        raise ValueError(f"is no file of answers of version {VERSION}: its first line has no classes under 'names'")
    if (task := item.get("task", "detect")) not in TASKS:
        raise ValueError(f"is of the task '{task}', and answers are of {', '.join(TASKS)}")
    if task == "pose" and not (isinstance(shape := item.get("kpt_shape"), list) and shape[:1] > [0]):
        raise ValueError("does not say under 'kpt_shape' how many keypoints a box has, as in [17, 3]")
    try:
        names = {int(k): str(v) for k, v in item["names"].items()}
        if min(names) < 0:
            raise ValueError
        return {**item, "names": names}
    except ValueError:
        raise ValueError(f"has a class in 'names' that is no index: {sorted(item['names'])[:3]}") from None


def _pack_image(packer: Packer, item: dict[str, Any], number: int) -> None:
    """Take in an image's line, or raise a ValueError that names it."""
    try:
        shape = [int(x) for x in item["shape"]]
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError("has no height and width under 'shape'")
        more = item["keypoints" if packer.extra == "keypoints" else "segments"] if packer.extra else ()
        packer.image(str(item["image"]), shape, item["boxes"], item["classes"], item["scores"], more)
    except KeyError as e:
        raise ValueError(f"has no {e} in line {number}, image '{item['image']}'") from None
    except (TypeError, OverflowError) as e:
        raise ValueError(f"holds something that is no number ({e}) in line {number}, image '{item['image']}'") from None
    except ValueError as e:
        raise ValueError(f"{e} in line {number}, image '{item['image']}'") from None
