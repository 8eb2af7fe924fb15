# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Says how a tree stands: clean, applied, partly, drifted, foreign, or (our own) empty."""

from __future__ import annotations

from pathlib import Path

from . import OVERLAY, PACKAGE, PatchError, Repo
from .carry import CLEAN
from .diff import split_lines
from .ends import to_lf
from .pin import read_pin
from .place import compare
from .record import read_record, require_line, tree_version
from .series import Patch
from .target import TargetPlan, find_ours, make_target_plan
from .tree import Plan, make_plan
from .wheel import sha256


def status(repo: Repo, target: Path) -> tuple[str, list[str]]:
    """Hold the repository's own tree against the series.

    Args:
        repo (Repo): The patch repository.
        target (Path): Folder that holds the tree.

    Returns:
        word (str): One of clean, applied, partly, drifted, foreign, empty.
        lines (list[str]): One line a patch, and one for each other file that stands out.
    """
    if not (target / PACKAGE / "__init__.py").is_file():
        return "empty", [f"upstream's files are not unpacked: run `pip install -e .` in {target}"]
    try:
        require_line(target, read_pin(repo.patches / "upstream.toml"))
    except PatchError as error:
        return "foreign", [str(error)]
    plan = make_plan(repo, target)
    words = {path: _file_word(plan, path) for path in plan.patched}
    lines = [f"{patch.title}: {_patch_word(plan, patch, number)}" for number, patch in enumerate(plan.patches, 1)]
    lines += [
        f"{path}: {word}" for path, word in words.items() if path not in plan.stages and word in ("drifted", "gone")
    ]
    return _overall(words, set(plan.stages)), lines


def target_status(repo: Repo, target: Path) -> tuple[str, list[str]]:
    """Hold a user's tree against the series.

    Args:
        repo (Repo): The patch repository.
        target (Path): Folder that holds an `ultralytics/` tree.

    Returns:
        word (str): clean (the series is not in), applied, partly (some of it, or an older one), drifted (a file was
            edited after it went in), or foreign (no Ultralytics tree, or one that the series cannot be held against).
        lines (list[str]): One line a patch, with what `apply` would do, and one for each file that stands out.
    """
    try:
        plan = make_target_plan(repo, target)
    except PatchError as error:
        return "drifted" if read_record(target) and tree_version(target) else "foreign", [str(error)]
    words = {path: _target_word(plan, path) for path in plan.wanted}
    lines = []
    for outcome in plan.carried.outcomes:
        own = {words[diff.path] for diff in outcome.patch.diffs}
        state = own.pop() if len(own) == 1 else "drifted" if "drifted" in own else "partly"
        lines.append(f"{outcome.patch.title}: {state}" + (f", {outcome.tell()}" if outcome.word != CLEAN else ""))
    lines += [f"{path}: {word}" for path, word in words.items() if word in ("drifted", "foreign")]
    return "foreign" if "foreign" in words.values() else _overall(words, set(words)), lines


def _target_word(plan: TargetPlan, path: str) -> str:
    """Say how one file of a user's tree stands."""
    data, wanted, kept = find_ours(plan, path), plan.wanted[path], plan.store.hashes.get(path)
    if path.startswith(OVERLAY + "/"):
        if data is None or data == wanted:
            return "clean" if data is None else "applied"
        return "partly" if kept == sha256(data) else "drifted" if kept else "foreign"
    if path in plan.store.after:
        before, after = (to_lf(side[path]) for side in (plan.store.before, plan.store.after))
        known = {before: "clean", after: "applied" if after == to_lf(wanted) else "partly"}
        return known.get(to_lf(data or b""), "drifted")
    if data != plan.originals[path]:
        return "applied" if data == wanted else "partly"
    there = data == wanted and not any(x.path == path for o in plan.carried.conflicts for x in o.conflicts)
    return "applied" if there else "clean"


def _file_word(plan: Plan, path: str) -> str:
    """Say how one file of our own tree stands."""
    data = plan.found(path)
    if data is None:
        return "gone"
    if data == plan.patched[path]:
        return "applied"
    if data == plan.pristine.get(path):
        return "clean"
    known = data in plan.stages.get(path, []) or plan.record.get(path) == sha256(data)
    return "partly" if known else "drifted"


def _patch_word(plan: Plan, patch: Patch, number: int) -> str:
    """Say how one patch stands in our own tree, the worst of its files first."""
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


def _overall(words: dict[str, str], touched: set[str]) -> str:
    """Sum the files up; upstream files that no patch touches count only when they drifted."""
    if {"drifted", "gone"} & set(words.values()):
        return "drifted"
    found = {word for path, word in words.items() if path in touched}
    return found.pop() if len(found) == 1 else "partly" if found else "clean"
