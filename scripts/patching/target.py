# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Applies the series to a user's own tree, whatever its version and edits, and takes it out again.

Hunks that fit go in where they say, others by three-way merge against the pinned files; one that conflicts stops all of
it. Our package is copied beside. What stood there is kept in the tree (see `store`), and edits that the user makes
afterwards survive both a revert and a newer series.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import OVERLAY, PACKAGE, PatchError, Repo
from .carry import CLEAN, THERE, Carried, carry
from .diff import split_lines
from .ends import restyle, to_lf
from .merge import merge_changes
from .pin import find_lines, read_pin
from .place import compare, splice
from .record import RECORD, tree_version
from .series import Patch, read_series, stages, touched
from .store import STORE, Store, make_store, read_store
from .swap import read, swap
from .tree import overlay_files
from .wheel import sha256, upstream

SIDE = "your tree"


@dataclass(frozen=True)
class TargetPlan:
    """A user's tree beside what the series makes of it; every path is relative to the target.

    Attributes:
        target (Path): Folder that holds the tree.
        patches (list[Patch]): The series.
        carried (Carried): The series on the user's files.
        originals (dict[str, bytes]): The files that we change, as they are without the series.
        wanted (dict[str, bytes]): Every file that belongs there with it, our package included.
        store (Store): What we kept there last time.
    """

    target: Path
    patches: list[Patch]
    carried: Carried
    originals: dict[str, bytes]
    wanted: dict[str, bytes]
    store: Store


def nearest_line(root: Path, target: Path) -> Repo:
    """Return the repository as the upstream line sees it that is nearest to a tree: of its minor version, else the pin.

    Args:
        root (Path): Folder that holds `patches/`.
        target (Path): Folder that holds the tree.

    Returns:
        (Repo): The repository.
    """
    found = (tree_version(target) or "").split(".")[:2]
    lines = find_lines(root)
    return next((repo for version, repo in lines.items() if version.split(".")[:2] == found), Repo(root))


def make_target_plan(repo: Repo, target: Path) -> TargetPlan:
    """Work out in memory what the series makes of a user's tree; nothing is written.

    Args:
        repo (Repo): The patch repository.
        target (Path): Folder that holds an `ultralytics/` tree.

    Returns:
        (TargetPlan): The plan; it may hold conflicts.

    Raises:
        PatchError: If there is no such tree, a file is gone, or an edit of the user's stands in lines of ours.
    """
    if not tree_version(target):
        raise PatchError(
            f"{target} has no {PACKAGE}/__init__.py with a version: give the folder above an Ultralytics tree."
        )
    pin, patches, store = read_pin(repo.patches / "upstream.toml"), read_series(repo), read_store(target)
    pristine = upstream(repo, pin)
    paths = touched(patches)
    originals = {}
    for path in sorted({*paths, *store.before}):
        known = stages(patches, path, pristine[path]) if path in paths else []
        originals[path] = _original(target, path, known, store)
    carried = carry(patches, pristine, {path: to_lf(originals[path]) for path in paths})
    merged = {path: restyle(steps[-1], originals[path]) for path, steps in carried.steps.items()}
    return TargetPlan(target, patches, carried, originals, {**originals, **merged, **overlay_files(repo)}, store)


def find_ours(plan: TargetPlan, path: str) -> bytes | None:
    """Return a file's content; one of our package whose line ends alone differ, as git may change them, counts as ours.

    Args:
        plan (TargetPlan): The plan.
        path (str): The file.

    Returns:
        (bytes | None): The content, None if there is no such file.
    """
    data, ours = read(plan.target, path), plan.wanted.get(path)
    return ours if data and path.startswith(OVERLAY + "/") and to_lf(data) == ours else data


def _original(target: Path, path: str, known: list[bytes], store: Store) -> bytes:
    """Return a file as it is without the series, the user's later edits included."""
    found = read(target, path)
    if found is None:
        raise PatchError(f"{target / path} is gone: restore it from your checkout, then try again.")
    before, after = store.before.get(path), store.after.get(path)
    if before is None or after is None:  # not ours, or the store is lost: bytes alone decide
        return restyle(known[0], found) if to_lf(found) in known else found
    if found in (before, after):
        return before
    with_ours, without, theirs = (split_lines(to_lf(data)) for data in (after, before, found))
    merged = merge_changes(path, compare(with_ours, without), with_ours, theirs)
    if merged.conflicts:
        at = merged.conflicts[0]
        raise PatchError(f"{target / path}:{at.line} was edited in lines of the series or next to them: undo that.")
    return restyle(b"".join(splice(theirs, merged.edits)), found)


def apply(repo: Repo, target: Path, log: Callable[[str], None] = print, write: bool = True) -> None:
    """Put the series into a user's tree, all of it or nothing; a second time changes nothing.

    Args:
        repo (Repo): The patch repository.
        target (Path): Folder that holds an `ultralytics/` tree.
        log (Callable[[str], None]): Takes one line a patch, and the conflicts.
        write (bool): Whether to write the result, or only tell it.

    Raises:
        PatchError: If a patch does not fit; the tree is as it was then.
    """
    plan = make_target_plan(repo, target)
    for line in plan.carried.describe(SIDE):
        log(line)
    require_whole(plan.carried, f"{target}: nothing was written")
    _require_store(plan)
    store = make_store(plan.originals, plan.wanted)
    contents = _differing(plan, {**store.contents(), **plan.wanted, RECORD: store.contents()[RECORD]})
    if not contents:
        log(f"nothing to do: all {len(plan.patches)} patches are in place, neither they nor your tree changed")
        return
    for number, outcome in enumerate(plan.carried.outcomes, 1):
        more = "" if outcome.word == CLEAN else f": {outcome.tell()}"
        log(f"* applying {outcome.patch.title} ({number}/{len(plan.patches)}){more}")
    swap(target, contents if write else {})


def revert(repo: Repo, target: Path, log: Callable[[str], None] = print, write: bool = True) -> None:
    """Take the series out of a user's tree: its own bytes come back, what was copied goes.

    Args:
        repo (Repo): The patch repository.
        target (Path): Folder that holds an `ultralytics/` tree.
        log (Callable[[str], None]): Takes one line a patch.
        write (bool): Whether to write the result, or only tell it.

    Raises:
        PatchError: If a file of our package was edited; the tree is as it was then.
    """
    plan = make_target_plan(repo, target)
    _require_store(plan)
    contents = _differing(plan, plan.originals)
    if not contents:
        log("nothing to do: the series is not in this tree")
        return
    for number, patch in reversed(list(enumerate(plan.patches, 1))):
        log(f"* reverting {patch.title} ({number}/{len(plan.patches)})")
    if write:
        swap(target, contents)
        _sweep(target / OVERLAY)
        _sweep(target / STORE)


def _require_store(plan: TargetPlan) -> None:
    """Refuse a tree that has the series while nobody knows any more what stood there."""
    if plan.patches and not plan.store.before and {outcome.word for outcome in plan.carried.outcomes} == {THERE}:
        raise PatchError(
            f"{plan.target} has the series, but what stood there before is not kept ({STORE} is gone): "
            f"take the files from your version control."
        )


def require_whole(carried: Carried, where: str) -> None:
    """Refuse a series that does not go in whole.

    Args:
        carried (Carried): The series on other files.
        where (str): Which files, and what happened, for the message.
    """
    failed = [outcome.patch.title for outcome in carried.conflicts]
    if failed:
        raise PatchError(f"{', '.join(failed)} {'does' if len(failed) == 1 else 'do'} not fit {where}.")
    if carried.broken:
        raise PatchError(f"{', '.join(carried.broken)} would no longer be valid Python in {where}.")


def _differing(plan: TargetPlan, wanted: dict[str, bytes]) -> dict[str, bytes | None]:
    """Return the files to write (None: to remove); refuse when one of our package holds somebody's edit."""
    result: dict[str, bytes | None] = {}
    # the record of a tree that this tool unpacked names upstream's files too: those stay
    left = {path for path in plan.store.hashes if path.startswith((OVERLAY + "/", STORE + "/"))}
    for path in [*wanted, *sorted({*plan.store.contents(), *left, *plan.wanted} - {*wanted})]:
        data = find_ours(plan, path)
        if data == wanted.get(path):
            continue
        ours = data in (None, plan.wanted.get(path)) or plan.store.hashes.get(path) == sha256(data or b"")
        if path.startswith(OVERLAY + "/") and not ours:
            raise PatchError(f"{plan.target / path} was edited (not as the series has it): undo that.")
        result[path] = wanted.get(path)
    return result


def _sweep(folder: Path) -> None:
    """Remove bytecode and empty folders: a bare folder of our package would still import as a namespace."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.name == "__pycache__":
            shutil.rmtree(path)
        elif path.is_dir():
            with suppress(OSError):
                path.rmdir()
    with suppress(OSError):
        folder.rmdir()
