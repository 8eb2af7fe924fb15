# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Keeps the repository's own tree: upstream's files, unpacked from the wheel, with the series in them.

On the pin the series is strict: its changes must make exactly the diffs that its patches show. A file counts as ours
to write when it is pristine, patched, or what this tool itself wrote last (its hash stands in the record); anything
else is somebody's edit, and stops us. Users' trees are another matter: see `target`.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Callable

from . import PACKAGE, PatchError, Repo
from .plan import Plan, diff_text, make_plan, require_whole
from .series import Patch, read_pin, read_series
from .swap import WORK, inside, read, recover, sha256, swapped
from .wheel import obtain, read_wheel

RECORD = f"{PACKAGE}/.patchset.json"
VERSION = re.compile(r"^__version__ = [\"']([^\"'\n]+)[\"']", re.MULTILINE)


def tree_version(root: Path) -> str | None:
    """Return the Ultralytics version of a tree, without a local part; None if there is no tree."""
    face = root / PACKAGE / "__init__.py"
    match = VERSION.search(face.read_text(encoding="utf-8", errors="replace")) if face.is_file() else None
    return match[1].split("+")[0] if match else None


def patched(repo: Repo, version: str = "") -> tuple[dict[str, bytes], Plan]:
    """Return the files of a release whose hash is known, the pinned one by default, and the series on them.

    Raises:
        PatchError: If a required patch does not fit; on the pin also an optional one, or one whose diff is not strict.
    """
    pin, patches = read_pin(repo), read_series(repo)
    files = read_wheel(obtain(repo, pin, version))[0]
    plan = make_plan(patches, files)
    require_whole(plan, f"{PACKAGE} {version or pin.version}")
    if version in ("", pin.version):
        for patch, (touches, diff) in zip(patches, describe(patches, files)):
            if (touches, diff) != (dict(patch.touches), patch.diff):
                raise PatchError(
                    f"{patch.name} shows another diff than its changes make of {pin.version}: run `refresh`."
                )
    return files, plan


def describe(patches: list[Patch], files: dict[str, bytes]) -> list[tuple[dict[str, str], str]]:
    """Return what each patch should say of some files: the hash of each file that it changes, and its diff."""
    said, now = [], files
    for patch in patches:
        after = make_plan([patch], now).files
        changed = [
            path for path in sorted({change.path for change in patch.changes}) if after.get(path) != now.get(path)
        ]
        diffs = "".join(diff_text(path, now[path], after[path]) for path in changed)
        said.append(({path: sha256(files[path]) for path in changed}, diffs))
        now = after
    return said


def apply(repo: Repo, version: str = "", source: Path | None = None, log: Callable[[str], None] = print) -> None:
    """Make the repository's tree of a release, all of it or nothing; a second time changes nothing.

    The pinned release is the default; a wheel given as `source` stands in place of a download.
    """
    recover(repo.root)
    if source:
        obtain(repo, read_pin(repo), version, source)
    files, plan = patched(repo, version)
    if not _write(repo, {**files, **plan.files}, [files, plan.files]):
        log("nothing to do: the tree is as the series has it")
        return
    for number, outcome in enumerate(plan.outcomes, 1):
        log(f"* {outcome.patch.title} ({number}/{len(plan.outcomes)}): {outcome.word}")
    for outcome in plan.left_out:
        log(f"* left out {outcome.patch.title}: without it {outcome.patch.lost}")


def revert(repo: Repo, log: Callable[[str], None] = print) -> None:
    """Take the series out of the repository's tree again: upstream's bytes come back."""
    recover(repo.root)
    version = _known_version(repo)
    files, plan = patched(repo, version)
    wrote = _write(repo, files, [files, plan.files])
    log(f"* the tree is upstream's {version}" if wrote else "nothing to do: the tree is upstream's")


def status(repo: Repo) -> tuple[str, list[str]]:
    """Say how the repository's tree stands: empty, interrupted, clean, applied, partly or drifted, and which files."""
    if inside(repo.root, WORK).is_dir():
        return "interrupted", [f"{repo.root / WORK}: a run was cut off; the next apply or revert takes it back"]
    if tree_version(repo.root) is None:
        return "empty", [f"upstream's files are not unpacked: run `pip install -e .` in {repo.root}"]
    version = _known_version(repo)
    files, plan = patched(repo, version)
    words = {}
    for path, data in files.items():
        found, record = read(repo.root, path), _record(repo.root)
        known = {plan.files[path]: "applied", data: "clean" if data != plan.files[path] else "applied"}
        words[path] = known.get(found or b"", "partly" if found and record.get(path) == sha256(found) else "drifted")
    seen = {word for path, word in words.items() if files[path] != plan.files[path] or word == "drifted"}
    word = "drifted" if "drifted" in seen else seen.pop() if len(seen) == 1 else "partly" if seen else "clean"
    lines = [f"{outcome.patch.title}: {outcome.word}" for outcome in plan.outcomes]
    return word, [
        f"{PACKAGE} {version}",
        *lines,
        *(f"{p}: {w}" for p, w in words.items() if w in ("drifted", "partly")),
    ]


def _known_version(repo: Repo) -> str:
    """Return the version of the repository's tree, the pinned one where nobody knows it."""
    pin = read_pin(repo)
    found = tree_version(repo.root) or ""
    return found if found in pin.wheels else pin.version


def _write(repo: Repo, wanted: dict[str, bytes], known: list[dict[str, bytes]]) -> bool:
    """Bring the tree to some files; refuse when one that has to change holds somebody's edit; return whether it did."""
    record, contents = _record(repo.root), {}
    for path in sorted({*wanted, *record}):
        data = read(repo.root, path)
        if data == wanted.get(path):
            continue
        if data is not None and data not in (k.get(path) for k in known) and record.get(path) != sha256(data):
            raise PatchError(
                f"{repo.root / path} was edited: write the edit as a change of a patch, then delete the file, "
                f"or undo the edit."
            )
        contents[path] = wanted.get(path)
    said = (json.dumps({p: sha256(d) for p, d in wanted.items()}, indent=0, sort_keys=True) + "\n").encode()
    with swapped(repo.root, {**contents, **({RECORD: said} if read(repo.root, RECORD) != said else {})}):
        pass
    return bool(contents)


def _record(root: Path) -> dict[str, str]:
    """Read the hash of each file as this tool wrote it last; empty for a broken record, then bytes alone decide."""
    with suppress(OSError, ValueError):
        record = json.loads(inside(root, RECORD).read_text(encoding="utf-8"))
        if isinstance(record, dict) and all(isinstance(x, str) for pair in record.items() for x in pair):
            return {path: digest for path, digest in record.items() if path.startswith(f"{PACKAGE}/")}
    return {}
