# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Says how a tree stands: clean, applied, partly, drifted, foreign, or empty."""

from __future__ import annotations

from pathlib import Path

from . import OVERLAY, PACKAGE, PatchError, Repo
from .diff import split_lines
from .pin import read_pin
from .place import compare
from .record import require_line
from .series import Patch
from .tree import Plan, make_plan, require_pinned
from .wheel import sha256


def status(repo: Repo, target: Path) -> tuple[str, list[str]]:
    """Hold a tree against the series.

    Args:
        repo (Repo): The patch repository.
        target (Path): Folder that holds an `ultralytics/` tree.

    Returns:
        word (str): One of clean, applied, partly, drifted, foreign, empty.
        lines (list[str]): One line a patch, and one for each other file that stands out.
    """
    own = target.resolve() == repo.root.resolve()
    pin = read_pin(repo.patches / "upstream.toml")
    if own and not (target / PACKAGE / "__init__.py").is_file():
        return "empty", [f"upstream's files are not unpacked: run `pip install -e .` in {target}"]
    try:
        require_line(target, pin) if own else require_pinned(target, pin)
    except PatchError as error:
        return "foreign", [str(error)]
    plan = make_plan(repo, target)
    words = {path: _file_word(plan, path) for path in plan.patched}
    lines = [f"{patch.title}: {_patch_word(plan, patch, number)}" for number, patch in enumerate(plan.patches, 1)]
    lines += [
        f"{path}: {word}" for path, word in words.items() if path not in plan.stages and word in ("drifted", "gone")
    ]
    return _overall(plan, words), lines


def _file_word(plan: Plan, path: str) -> str:
    """Say how one file stands."""
    data = plan.found(path)
    if data is None:
        return "clean" if path.startswith(OVERLAY) else "gone"
    if data == plan.patched[path]:
        return "applied"
    if data == plan.pristine.get(path):
        return "clean"
    known = data in plan.stages.get(path, []) or plan.record.get(path) == sha256(data)
    return "partly" if known else "drifted"


def _patch_word(plan: Plan, patch: Patch, number: int) -> str:
    """Say how one patch stands, the worst of its files first."""
    words = []
    for diff in patch.diffs:
        data, steps = plan.found(diff.path), plan.stages[diff.path]
        if data is None:
            words.append(f"gone: {diff.path}")
        elif data not in steps:
            edits = compare(split_lines(steps[-1]), split_lines(data))
            words.append(f"drifted: {diff.path}:{edits[0].start + 1} and after" if edits else f"drifted: {diff.path}")
        else:
            words.append("applied" if data in steps[number:] else "clean")
    return next(
        (word for word in words if word[:4] in ("gone", "drif")), "applied" if set(words) == {"applied"} else words[0]
    )


def _overall(plan: Plan, words: dict[str, str]) -> str:
    """Sum the files up; upstream files that no patch touches count only when they drifted."""
    if {"drifted", "gone"} & set(words.values()):
        return "drifted"
    found = {word for path, word in words.items() if path in plan.stages or path.startswith(OVERLAY)}
    return found.pop() if len(found) == 1 else "partly" if found else "clean"
