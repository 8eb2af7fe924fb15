# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Finds images, leaves out those that cannot be read and copies of others, and counts what two sets share."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from PIL import Image

from ultralytics.data.utils import IMG_FORMATS
from ultralytics.distill.spelling import split_list
from ultralytics.utils import DATASETS_DIR, NUM_THREADS
from ultralytics.utils.patches import imread

NAMED = 5  # files that a message names
LEAST = 10  # pixels of the shorter side, as upstream has it
END = b"\xff\xd9"  # of a whole JPEG


def find(value: Any, base: Path | None = None, argument: str = "unlabeled") -> list[str]:
    """Return the image files that a value stands for.

    Args:
        value (str | Path | list): A folder, which is searched through, a `.txt` list with a path a line, a glob, an
            image, or a list of these; as text also `[a,b]`.
        base (Path, optional): What relative paths start from, if not the working directory.
        argument (str): What the value was given for, in messages.

    Returns:
        (list[str]): The files, sorted, each once.

    Raises:
        FileNotFoundError: If a part of the value leads to no image; one sentence.
        ValueError: If it is no path at all.
    """
    parts = value if isinstance(value, (list, tuple)) else [value]
    if wrong := [x for x in parts if not isinstance(x, (str, Path))]:
        raise ValueError(f"'{argument}={wrong[0]}' is no path; give a folder, several, a .txt list or a glob.")
    items = [value] if isinstance(value, (str, Path)) and Path(base or "", value).exists() else split_list(value)
    found: set[str] = set()
    for item in items:
        files = images_at(Path(base or "", item))
        if not files:
            raise FileNotFoundError(
                f"'{argument}={item}' leads to no image; give a folder, a list of folders, a .txt list or a glob."
            )
        found.update(files)
    return sorted(found)


def images_at(path: Path) -> list[str]:
    """Return the image files that one path stands for: a folder, a list, a glob of files or folders, or a file.

    Of a list every line that is no folder is returned; whether it is an image is seen when it is looked through.
    """
    if path.is_dir():
        found = glob.glob(str(Path(glob.escape(str(path)), "**", "*.*")), recursive=True)
    elif path.suffix == ".txt" and path.is_file():
        text = path.read_text(encoding="utf-8-sig")
        places = [_beside(path, line.strip()) for line in text.splitlines() if line.strip()]
        lines = [f for p in places for f in (images_at(p) if p.is_dir() else [str(p)])]
        return lines if any(map(is_named, lines)) else []
    elif path.is_file():
        found = [str(path)]
    else:
        matched = glob.glob(str(path), recursive=True)
        found = [f for m in matched for f in (images_at(Path(m)) if os.path.isdir(m) else [m])]
    return [f for f in found if is_named(f)]


def is_named(file: str) -> bool:
    """Whether a file is named as an image."""
    return "." in file and file.rpartition(".")[2].lower() in IMG_FORMATS


def root_of(raw: dict[str, Any], file: str) -> Path:
    """Return what relative paths in a data set's YAML start from, as upstream has it."""
    root = Path(raw.get("path") or Path(file).parent)
    return root if root.exists() or root.is_absolute() else DATASETS_DIR / root


def _beside(file: Path, line: str) -> Path:
    """Return the image that a line of a list names: `./`, or a path that leads nowhere, begins in the list's folder."""
    return file.parent / line if line.startswith("./") or not Path(line).exists() else Path(line)


def look_through(files: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the files that are images, those that cannot be read, and those whose content another has too.

    Returns:
        good (list[str]): Files to train with.
        broken (list[str]): Files that are missing, cut off, no image, or smaller than ten pixels.
        copies (list[str]): Files equal to an earlier one, byte for byte.
    """
    with ThreadPool(NUM_THREADS) as pool:
        whole = pool.map(is_whole, files)
        broken = [f for f, ok in zip(files, whole) if not ok]
        readable = [f for f, ok in zip(files, whole) if ok]
        marks = fingerprints(readable, pool, Counter(map(os.path.getsize, readable)))
    good: list[str] = []
    copies: list[str] = []
    seen: set[Any] = set()
    for file, mark in zip(readable, marks):
        (copies if mark in seen else good).append(file)
        seen.add(mark)
    return good, broken, copies


def shared(files: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the files whose content is that of one of the others, byte for byte."""
    others = [f for f in others if os.path.isfile(f)]
    sizes = [os.path.getsize(f) for f in others]
    some = [f for f in files if os.path.getsize(f) in set(sizes)]
    both = Counter({os.path.getsize(f): 2 for f in some})
    with ThreadPool(NUM_THREADS) as pool:
        known = {m for m, size in zip(fingerprints(others, pool, both), sizes) if size in both}
        return [f for f, mark in zip(some, fingerprints(some, pool, both)) if mark in known]


def fingerprints(files: Sequence[str], pool: ThreadPool, sizes: Counter) -> list[Any]:
    """Return what tells the content of each file; one of a size of its own need not be read for that."""

    def mark(file: str) -> Any:
        size = os.path.getsize(file)
        return blake2b(Path(file).read_bytes(), digest_size=16).digest() if sizes[size] > 1 else size

    return pool.map(mark, files)


def is_whole(file: str) -> bool:
    """Whether a file is an image that can be read to its end and is not tiny."""
    try:
        with Image.open(file) as image:
            kind, size = image.format, image.size
            image.verify()
        if kind == "JPEG" and not _ends(file):  # a camera may write something behind the end
            with Image.open(file) as image:
                image.load()
    except Exception:  # what upstream reads by other means, such as AVIF
        known = f".{file.rpartition('.')[-1].lower()}" in Image.registered_extensions()  # PIL's word is the last there
        found = None if known else imread(file)
        size = (0, 0) if found is None else found.shape[:2]
    return min(size) >= LEAST


def _ends(file: str) -> bool:
    """Whether a JPEG's last bytes are its end, but for zeros behind them."""
    with open(file, "rb") as f:
        f.seek(max(os.path.getsize(file) - 64, 0))
        return f.read().rstrip(b"\0").endswith(END)


def named(files: Iterable[str]) -> str:
    """Return the first few files by name, and how many more there are."""
    files = list(files)
    more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
    return ", ".join(files[:NAMED]) + more
