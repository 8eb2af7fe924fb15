# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Writes several files or none: all is laid beside its place first, then swapped in, and undone on any failure."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from . import PatchError

NEW, OLD = ".patchset-new", ".patchset-old"


def swap(root: Path, contents: dict[str, bytes | None]) -> None:
    """Write, replace and remove files below a folder, all of them or none.

    Args:
        root (Path): The folder; nothing outside it is written, not even through a link.
        contents (dict[str, bytes | None]): New content by relative path; None removes the file.

    Raises:
        PatchError: If a path leads out of the folder, or a file cannot be written; the folder is then as it was.
    """
    made: list[Path] = []
    done: list[tuple[Path, bool]] = []
    try:
        for name, data in contents.items():
            path = inside(root, name)
            made += _make_parents(path)
            if path.exists():
                shutil.copy2(path, _beside(path, OLD))  # keeps mode and time, so undoing leaves no trace
            if data is not None:
                _beside(path, NEW).write_bytes(data)
                if path.exists():
                    shutil.copymode(path, _beside(path, NEW))
        for name, data in contents.items():
            path = root / name
            done.append((path, path.exists()))
            if data is not None:
                os.replace(_beside(path, NEW), path)
            elif path.exists():
                path.unlink()
    except BaseException as error:
        for path, existed in reversed(done):
            with suppress(FileNotFoundError):
                os.replace(_beside(path, OLD), path) if existed else path.unlink()
        for name in contents:
            _tidy(root / name)
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise PatchError(f"{error.filename} cannot be written ({error.strerror}): nothing was changed.") from error
        raise
    finally:
        for name in contents:
            _tidy(root / name)


def read(root: Path, name: str) -> bytes | None:
    """Return a file's content below a folder, None if there is none; one that a link leads out of it is refused."""
    place = inside(root, name)
    return place.read_bytes() if place.is_file() else None


def inside(root: Path, name: str) -> Path:
    """Return the path of a file below a folder, refusing one that a link leads out of it.

    Args:
        root (Path): The folder.
        name (str): Relative path.

    Returns:
        (Path): The joined path.
    """
    path = root / name
    if path.is_symlink() or root.resolve() not in path.resolve().parents:
        raise PatchError(f"{path} is a link or leads out of {root}: nothing is written through links.")
    return path


def _beside(path: Path, ending: str) -> Path:
    """Name a file beside another one, hidden."""
    return path.with_name(f".{path.name}{ending}")


def _make_parents(path: Path) -> list[Path]:
    """Make the missing parent folders; return them, outermost first."""
    missing = [folder for folder in path.parents if not folder.exists()][::-1]
    for folder in missing:
        folder.mkdir()
    return missing


def _tidy(path: Path) -> None:
    """Remove what was laid beside a file."""
    for ending in (NEW, OLD):
        with suppress(FileNotFoundError, NotADirectoryError):
            _beside(path, ending).unlink()
