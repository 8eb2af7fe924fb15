# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Applies the series to a user's own tree, whatever its version and edits, and takes it out again.

Each change goes in by its anchor, our package is copied beside, and the result is trained in before it counts. What
stood there is kept in the tree, as plain files that a person can copy back as well. Lines of ours in a tree without
that record are never taken for the user's.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import OVERLAY, PACKAGE, NotAlive, PatchError, Repo
from .alive import try_out
from .anchor import CONFLICT
from .plan import Plan, blocks, make_plan, printed, report, require_whole
from .series import read_series, touched
from .swap import WORK, inside, read, recover, sha256, swapped

STORE = f"{PACKAGE}/.patchset"
STATE = f"{STORE}/state.json"
RAW = f"{STORE}/.gitattributes"  # should the user commit the store, git must not change its line ends
Log = Callable[[str], None]


@dataclass(frozen=True)
class Store:
    """What this tool last did to a user's tree.

    Attributes:
        before (dict[str, bytes]): The changed files as they were, by path.
        after (dict[str, bytes]): The same as we left them.
        package (dict[str, str]): Hash of each file of our package.
    """

    before: dict[str, bytes] = field(default_factory=dict)
    after: dict[str, bytes] = field(default_factory=dict)
    package: dict[str, str] = field(default_factory=dict)

    def contents(self) -> dict[str, bytes]:
        """Return the store as files by path."""
        kept = {
            f"{STORE}/{side}/{path}": data for side in ("before", "after") for path, data in getattr(self, side).items()
        }
        state = {"files": {path: sha256(data) for path, data in self.after.items()}, "package": self.package}
        return {**kept, RAW: b"* -text\n", STATE: json.dumps(state, indent=0, sort_keys=True).encode()}


def read_store(target: Path) -> Store:
    """Read what this tool last did to a tree; empty where it did nothing.

    Raises:
        PatchError: If the store is there but broken.
    """
    data = read(target, STATE)
    if data is None:
        return Store()
    try:
        state = json.loads(data)
        before, after = (
            {path: inside(target, f"{STORE}/{side}/{path}").read_bytes() for path in state["files"]}
            for side in ("before", "after")
        )
        if all(sha256(after[path]) == digest for path, digest in state["files"].items()):
            return Store(before, after, dict(state["package"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise PatchError(f"{target / STORE} is broken: take the files that the series changes from your version control.")


@dataclass(frozen=True)
class Target:
    """A user's tree beside what the series makes of it; every path is relative to it."""

    root: Path
    store: Store
    originals: dict[str, bytes]
    plan: Plan
    package: dict[str, bytes]


def look(repo: Repo, root: Path, without: tuple[str, ...] = ()) -> Target:
    """Work out in memory what the series makes of a user's tree; nothing is written.

    Raises:
        PatchError: If there is no tree, or it holds lines of ours that cannot be told from the user's.
    """
    if not (root / PACKAGE / "__init__.py").is_file():
        raise PatchError(f"{root} has no {PACKAGE}/__init__.py: give the folder above an Ultralytics tree.")
    patches, store = read_series(repo), read_store(root)
    originals = {}
    for path in sorted({*touched(patches), *store.before}):
        found = read(root, path)
        if path in store.before:
            originals[path] = _take_out(path, store.before[path], store.after[path], found)
        elif found is not None:
            originals[path] = found
    plan = make_plan(patches, originals, without)
    ours = sorted({change.path for _, change, result in plan.there if result.edit})
    if ours:
        raise PatchError(
            f"{', '.join(ours)} in {root} hold lines of the series, and no record says what stood there ({STORE}): "
            f"take them from your version control, as by `git checkout -- {' '.join(ours)}`, then try again."
        )
    package = repo.overlay_files()
    for path, data in package.items():
        _require_ours(root, path, data, store)
    return Target(root, store, originals, plan, package)


def apply(
    repo: Repo, root: Path, without: tuple[str, ...] = (), tried: bool = True, log: Log = print, show: bool = False
) -> None:
    """Put the series into a user's tree, all of it or nothing; a second time changes nothing.

    Optional patches may be left out. If `tried`, the result has to train before it counts. `show` only tells every line
    and its place, and writes nothing.

    Raises:
        PatchError: If a required patch does not fit, or the tree does not train; it is as it was then.
    """
    if not show and recover(root):
        log("* took back an earlier run that was cut off")
    goal = look(repo, root, without)
    plan = goal.plan
    if show:
        for path, data in goal.originals.items():
            for line in printed(path, data, plan.files[path]):
                log(line)
        log(f"and copy {repo.root / OVERLAY} to {root / OVERLAY}")
    for outcome in plan.refused:
        for line in report(outcome):
            log(line)
    for outcome in plan.left_out:
        log(f"* leaving out {outcome.patch.title}: without it {outcome.patch.lost}")
    require_whole(plan, f"{root}: nothing was written; the lines above can be pasted by hand, then apply again")
    if show:
        return
    after = {path: data for path, data in plan.files.items() if data != goal.originals[path]}
    store = Store(
        {path: goal.originals[path] for path in after}, after, {p: sha256(d) for p, d in goal.package.items()}
    )
    contents = _differing(goal, {**goal.originals, **after, **goal.package, **store.contents()})
    if not contents:
        log("nothing to do: the series is in place, neither it nor your tree changed")
        return
    for number, outcome in enumerate(plan.outcomes, 1):
        log(f"* {outcome.patch.title} ({number}/{len(plan.outcomes)}): {outcome.word}")
    try:
        with swapped(root, contents):
            if tried:
                log("* trying it: import and two steps of training on drawn images")
                try_out(root)
    except NotAlive:
        try_out(root, plain=True)  # raises where the tree's own code or this Python is at fault
        raise
    for _, change, _ in plan.there:
        log(f"* {change.path}: lines of the series that you pasted stay yours, a revert leaves them")


def revert(repo: Repo, root: Path, log: Log = print) -> None:
    """Take the series out of a user's tree: its own bytes come back, what was copied goes.

    Raises:
        PatchError: If that cannot be done to the byte; the tree is as it was then.
    """
    if recover(root):
        log("* took back an earlier run that was cut off")
    goal = look(repo, root)
    if not goal.store.package and not goal.plan.there:
        log("nothing to do: the series is not in this tree")
        return
    if not goal.store.package:
        raise PatchError(f"{root} holds lines of the series, and no record of it: take them from your version control.")
    contents = _differing(goal, goal.originals)
    with swapped(root, contents):
        pass
    for path in goal.store.before:
        log(f"* {path}: as it was" if path in contents else f"* {path}: was as it was already")
    for _, change, _ in goal.plan.there:
        log(f"* {change.path}: lines of the series that you pasted are still there, and their package is gone")


def status(repo: Repo, root: Path) -> tuple[str, list[str]]:
    """Hold a user's tree against the series.

    Returns:
        word (str): clean, applied, partly (some of it, or an older one), drifted (edited since), interrupted (the next
            apply or revert takes that back), or foreign (no tree, or one with lines of ours and no record).
        lines (list[str]): One line a patch, and one for each file that stands out.
    """
    if inside(root, WORK).is_dir():
        return "interrupted", [f"{root / WORK}: a run was cut off; the next apply or revert takes it back"]
    try:
        goal = look(repo, root)
    except PatchError as error:
        return "foreign", [str(error)]
    words = {}
    if goal.store.package:
        for path, before in goal.store.before.items():
            known = {_lf(before): "clean", _lf(goal.store.after[path]): "applied"}
            words[path] = known.get(_lf(read(root, path) or b""), "drifted")
        for path, data in goal.package.items():
            words[path] = "applied" if goal.store.package.get(path) == sha256(data) else "partly"
    found = set(words.values()) or {"clean"}
    word = "drifted" if "drifted" in found else found.pop() if len(found) == 1 else "partly"
    lines = [f"{o.patch.title}: {CONFLICT if o.word == CONFLICT else 'fits'}" for o in goal.plan.outcomes]
    return word, [*lines, *(f"{path}: {said}" for path, said in words.items() if said in ("drifted", "partly"))]


def _take_out(path: str, before: bytes, after: bytes, found: bytes | None) -> bytes:
    """Return a file as it is without the series, the user's later edits included.

    Raises:
        PatchError: If lines of the series were edited, so that nobody can tell what belongs there.
    """
    if found is None:
        raise PatchError(f"{path} is gone: restore it from your version control, then try again.")
    if _lf(found) in (_lf(before), _lf(after)):
        return before if found in (before, after) or b"\r" not in found else _lf(before).replace(b"\n", b"\r\n")
    text, pairs = found.decode("utf-8", "surrogateescape"), blocks(before, after)
    changes = Counter(("".join(gone), "".join(new)) for _, gone, new in pairs)
    counts = {pair: len(re.findall(r"(?m)^" + re.escape(pair[1]), text)) for pair in changes}
    if not any(counts.values()):
        return found  # another version of the file, as after a change of branch
    if counts != dict(changes):
        lost = next(pair[1] for pair in changes if counts[pair] != changes[pair])
        raise PatchError(
            f"{path} was edited in lines of the series ({lost.strip()[:60]!r} is not as it was): undo that."
        )
    for gone, new in changes:
        text = re.sub(r"(?m)^" + re.escape(new), gone.replace("\\", r"\\"), text)
    return text.encode("utf-8", "surrogateescape")


def _differing(goal: Target, wanted: dict[str, bytes]) -> dict[str, bytes | None]:
    """Return the files to write (None: to remove)."""
    gone = dict.fromkeys({*goal.store.contents(), *goal.store.package} - {*wanted})
    everything: dict[str, bytes | None] = {**wanted, **gone}
    found = {path: read(goal.root, path) for path in everything}
    for path in gone:
        if path.startswith(f"{OVERLAY}/"):
            _require_ours(goal.root, path, goal.package.get(path, b""), goal.store)
    return {path: data for path, data in sorted(everything.items()) if found[path] != data}


def _require_ours(root: Path, path: str, data: bytes, store: Store) -> None:
    """Refuse a file in the place of one of our package that this tool did not write."""
    found = read(root, path)
    if found is None or _lf(found) == _lf(data) or store.package.get(path) == sha256(found):
        return
    remedy = "undo that" if store.package else f"this tree has an {OVERLAY} of its own"
    raise PatchError(f"{root / path} is not as the series has it: {remedy}.")


def _lf(data: bytes) -> bytes:
    """Return a text with LF line ends, as git may change them."""
    return data.replace(b"\r\n", b"\n")
