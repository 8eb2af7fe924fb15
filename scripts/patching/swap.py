# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Writes several files or none, even when killed in the middle.

All new files and copies of the old ones are laid into one folder first, and a plan beside them; then they are swapped
in, and last the folder goes. While it is there the swap is not over: the next one undoes it first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import PatchError

WORK = ".patchset-work"  # beside the package, so on the same disk


def sha256(data: bytes) -> str:
    """Return the hash of some bytes."""
    return hashlib.sha256(data).hexdigest()


def inside(root: Path, name: str) -> Path:
    """Return the path of a file below a folder, refusing one that a link leads out of it."""
    path = root / name
    if path.is_symlink() or root.resolve() not in path.resolve().parents:
        raise PatchError(f"{path} is a link or leads out of {root}: nothing is written through links.")
    return path


def read(root: Path, name: str) -> bytes | None:
    """Return a file's content below a folder, None if there is none; one that a link leads out of it is refused."""
    place = inside(root, name)
    return place.read_bytes() if place.is_file() else None


@contextmanager
def swapped(root: Path, contents: dict[str, bytes | None]) -> Iterator[None]:
    """Write, replace and remove (None) files below a folder; what fails inside the `with` undoes all of it.

    Nothing outside the folder is written, not even through a link.

    Raises:
        PatchError: If a path leads out of the folder, or a file cannot be written; the folder is then as it was.
    """
    recover(root)
    work, kept = inside(root, WORK), {name: read(root, name) for name in contents}
    plan = {
        name: [data if data is None else sha256(data) for data in (kept[name], contents[name])] for name in contents
    }
    try:
        for name, data in contents.items():
            new, old = work / "new" / name, work / "old" / name
            for part in (new, old):
                part.parent.mkdir(parents=True, exist_ok=True)
            if kept[name] is not None:
                shutil.copy2(root / name, old)  # keeps mode and time, so undoing leaves no trace
            if data is not None:
                new.write_bytes(data)
                if kept[name] is not None:
                    shutil.copymode(root / name, new)
        if contents:
            (work / "plan").write_text(json.dumps(plan), encoding="utf-8")
            os.replace(work / "plan", work / "plan.json")
        for name, data in contents.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            if data is not None:
                os.replace(work / "new" / name, root / name)
            elif kept[name] is not None:
                (root / name).unlink()
        yield
        _remove_empty(root, [name for name, data in contents.items() if data is None])
        with suppress(FileNotFoundError):
            (work / "plan.json").unlink()  # from here on it is done
    except BaseException as error:
        recover(root)
        if isinstance(error, OSError):
            raise PatchError(f"{error.filename} cannot be written ({error.strerror}): nothing was changed.") from error
        raise
    shutil.rmtree(work, ignore_errors=True)


def recover(root: Path) -> bool:
    """Undo a swap that was cut off; return whether there was one.

    Raises:
        PatchError: If a file was edited since.
    """
    work = inside(root, WORK)
    if not work.is_dir():
        return False
    plan = json.loads((work / "plan.json").read_text(encoding="utf-8")) if (work / "plan.json").is_file() else {}
    found = {name: read(root, name) for name in plan}
    for name, data in found.items():
        if data is not None and sha256(data) not in plan[name]:
            raise PatchError(
                f"{root / name} was edited after a run that was cut off: take your edit out, then try again."
            )
    for name, (old, _) in plan.items():
        if (work / "old" / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(work / "old" / name, root / name)
        elif old is None and found[name] is not None:
            (root / name).unlink()
    _remove_empty(root, list(plan))
    shutil.rmtree(work)
    return True


def _remove_empty(root: Path, names: list[str]) -> None:
    """Remove the folders of some files where nothing but bytecode is left: a bare one would import as a namespace."""
    for folder in sorted({p for name in names for p in (root / name).parents if root in p.parents}, reverse=True):
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {"__pycache__"}:
            shutil.rmtree(folder)
