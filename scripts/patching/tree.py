# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Applies the series to a whole tree, whose upstream files we unpack: the repository's own. And takes it back.

A file counts as ours to write when it is pristine, patched, or what this tool itself wrote last (its hash stands in the
record); anything else is somebody's edit, and stops us. Users' trees are another matter: see `target`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import PatchError, Repo
from .pin import Pin, read_pin
from .record import RECORD, read_record, record_bytes, require_line
from .series import Patch, read_series, stages, touched
from .swap import inside, read, swap
from .wheel import sha256, upstream


@dataclass(frozen=True)
class Plan:
    """A tree beside what the series makes of it; every path is relative to the target.

    Attributes:
        target (Path): Folder that holds the tree.
        pin (Pin): The pin.
        patches (list[Patch]): The series.
        stages (dict[str, list[bytes]]): For each touched file, its content before the series and after each patch.
        pristine (dict[str, bytes]): The files that belong there without the series.
        patched (dict[str, bytes]): The files that belong there with it.
        record (dict[str, str]): Hash of each file as this tool wrote it last.
    """

    target: Path
    pin: Pin
    patches: list[Patch]
    stages: dict[str, list[bytes]]
    pristine: dict[str, bytes]
    patched: dict[str, bytes]
    record: dict[str, str]

    def found(self, path: str) -> bytes | None:
        """Return a file's content in the tree, None if there is none."""
        return read(self.target, path)

    def is_ours(self, path: str, data: bytes) -> bool:
        """Return whether a content is upstream's, the series', or what this tool wrote last."""
        known = [*self.stages.get(path, []), self.pristine.get(path), self.patched.get(path)]
        return data in known or self.record.get(path) == sha256(data)


def make_plan(repo: Repo, target: Path) -> Plan:
    """Work out in memory what the series makes of a tree; nothing is written.

    Args:
        repo (Repo): The patch repository.
        target (Path): Folder that holds the tree, which may be empty.

    Returns:
        (Plan): The plan.

    Raises:
        PatchError: If the wheel is not the pinned one, or a patch does not fit it.
    """
    pin, patches = read_pin(repo.patches / "upstream.toml"), read_series(repo)
    files = upstream(repo, pin)
    steps: dict[str, list[bytes]] = {}
    for path in touched(patches):
        if path not in files:
            raise PatchError(f"{path} is not in {pin.wheel}: the patch that touches it needs another file or must go.")
        if pin.files.get(path) != sha256(files[path]):
            raise PatchError(f"upstream.toml gives another sha256 for {path} than {pin.wheel} holds: run `check`.")
        steps[path] = stages(patches, path, files[path])
    record = read_record(target)
    patched = {path: contents[-1] for path, contents in steps.items()}
    return Plan(target, pin, patches, steps, files, {**files, **patched}, record)


def apply(repo: Repo, target: Path, log: Callable[[str], None] = print) -> None:
    """Put the series into a tree, all of it or nothing; a second time changes nothing.

    Args:
        repo (Repo): The patch repository.
        target (Path): Folder that holds the tree, which may be empty.
        log (Callable[[str], None]): Takes one line a patch.
    """
    plan = make_plan(repo, target)
    wanted = _differing(plan, plan.patched)
    reasons = [f"  {path}: {_reason(plan, path)}" for path in wanted if path in plan.stages or path in plan.record]
    _write(plan, wanted, {path: sha256(data) for path, data in plan.patched.items()})
    if wanted:
        for line in reasons:
            log(line)
        for number, patch in enumerate(plan.patches, 1):
            log(f"* applying {patch.title} ({number}/{len(plan.patches)})")
    else:
        log(f"nothing to do: all {len(plan.patches)} patches are in place, neither they nor upstream changed")


def revert(repo: Repo, target: Path, log: Callable[[str], None] = print) -> None:
    """Take the series out of a tree again: upstream's bytes come back.

    Args:
        repo (Repo): The patch repository.
        target (Path): Folder that holds the tree.
        log (Callable[[str], None]): Takes one line a patch.
    """
    plan = make_plan(repo, target)
    require_line(target, plan.pin)
    wanted = _differing(plan, plan.pristine)
    _write(plan, wanted, {path: sha256(data) for path, data in plan.pristine.items()})
    if wanted:
        for number, patch in reversed(list(enumerate(plan.patches, 1))):
            log(f"* reverting {patch.title} ({number}/{len(plan.patches)})")
    else:
        log("nothing to do: the tree is upstream's")


def unpack(repo: Repo, target: Path, log: Callable[[str], None] = print) -> None:
    """Lay upstream's files that are missing into a tree; files that are there stay as they are."""
    pin = read_pin(repo.patches / "upstream.toml")
    files = upstream(repo, pin)
    require_line(target, pin)
    missing = {path: data for path, data in files.items() if not inside(target, path).exists()}
    record = {**read_record(target), **{path: sha256(data) for path, data in missing.items()}}
    swap(target, {**missing, RECORD: record_bytes(record)} if missing else {})
    log(f"{pin.wheel}: sha256 is right, {len(missing)} of {len(files)} files were missing and are unpacked")


def overlay_files(repo: Repo) -> dict[str, bytes]:
    """Return the files of our own package."""
    files = (path for path in sorted(repo.overlay.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(repo.root).as_posix(): path.read_bytes() for path in files}


def _differing(plan: Plan, wanted: dict[str, bytes]) -> dict[str, bytes | None]:
    """Return the files to write (None: to remove); refuse when one of them holds somebody's edit."""
    result: dict[str, bytes | None] = {}
    for path in sorted({*wanted, *plan.record, *plan.patched}):
        data = plan.found(path)
        if data == wanted.get(path):
            continue
        if data is not None and not plan.is_ours(path, data):
            remedy = "`patchset.py refresh` records the edit, deleting the file drops it"
            raise PatchError(f"{plan.target / path} was edited (neither pristine nor patched): {remedy}.")
        result[path] = wanted.get(path)
    return result


def _reason(plan: Plan, path: str) -> str:
    """Say why a file has to be written."""
    data = plan.found(path)
    if data is None:
        return "was not there"
    if path not in plan.patched:
        return "no longer part of it"
    return "was pristine" if data == plan.pristine.get(path) else "its patches or its source changed"


def _write(plan: Plan, wanted: dict[str, bytes | None], record: dict[str, str]) -> None:
    """Swap the files in together with the new record."""
    data = record_bytes(record)
    if plan.found(RECORD) != data:
        wanted = {**wanted, RECORD: data}
    swap(plan.target, wanted)
