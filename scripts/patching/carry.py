# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Carries the whole series over to other versions of its files: strictly where it fits, else by three-way merge."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass, field

from . import PACKAGE, PatchError
from .diff import split_lines
from .merge import Conflict, merge
from .place import changes, splice
from .series import Patch, stages, touched

CLEAN, MOVED, THERE, CONFLICT = "clean", "moved", "there already", "conflict"


@dataclass
class Outcome:
    """What became of one patch.

    Attributes:
        patch (Patch): The patch.
        moved (dict[str, list[tuple[int, int]]]): Where changes went in that do not fit exactly: for each file the line,
            and by how many lines it moved.
        conflicts (list[Conflict]): What does not go in.
        edits (int): Number of changes that went in.
    """

    patch: Patch
    moved: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    edits: int = 0

    @property
    def word(self) -> str:
        """(str): One of clean, moved, there already, conflict."""
        if self.conflicts:
            return CONFLICT
        return THERE if not self.edits else MOVED if self.moved else CLEAN

    def tell(self) -> str:
        """Return the word, line and offset of each change that moved, as in `engine/trainer.py:30 +2, 51 -3`."""
        if self.word != MOVED:
            return self.word
        files = []
        for path, places in self.moved.items():
            files.append(path[len(PACKAGE) + 1 :] + ":" + ", ".join(f"{line} {offset:+d}" for line, offset in places))
        return f"{MOVED} ({'; '.join(files)})"


@dataclass(frozen=True)
class Carried:
    """The series on other versions of its files.

    Attributes:
        outcomes (list[Outcome]): One a patch, in order.
        steps (dict[str, list[bytes]]): For each touched file, its content before the series and after each patch.
    """

    outcomes: list[Outcome]
    steps: dict[str, list[bytes]]

    @property
    def conflicts(self) -> list[Outcome]:
        """(list[Outcome]): The patches that do not go in whole."""
        return [outcome for outcome in self.outcomes if outcome.conflicts]

    @property
    def broken(self) -> list[str]:
        """(list[str]): Files that were valid Python and no longer are, with the first bad line."""
        return [
            f"{path}:{line}"
            for path, steps in self.steps.items()
            if path.endswith(".py") and not _bad_line(steps[0]) and (line := _bad_line(steps[-1]))
        ]

    def describe(self, side: str) -> list[str]:
        """Tell every conflict in lines of text; `side` names whose the other versions are."""
        return [
            line
            for outcome in self.conflicts
            for conflict in outcome.conflicts
            for line in conflict.describe(outcome.patch.title, side)
        ]


def _bad_line(source: bytes) -> int:
    """Return the first line at which a source is not valid Python, 0 where it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in the user's own string is none of this tool's business
            ast.parse(source)
    except SyntaxError as error:
        return error.lineno or 1
    return 0


def carry(patches: list[Patch], pristine: dict[str, bytes], theirs: dict[str, bytes]) -> Carried:
    """Carry the series over, in memory.

    Args:
        patches (list[Patch]): The series.
        pristine (dict[str, bytes]): The files that it was made for.
        theirs (dict[str, bytes]): Other versions of them; one may be missing.

    Returns:
        (Carried): What became of each patch, and the files.
    """
    result = Carried([Outcome(patch) for patch in patches], {})
    for path in touched(patches):
        base = stages(patches, path, pristine[path])
        steps = result.steps[path] = [theirs.get(path, b"")]
        for number, outcome in enumerate(result.outcomes):
            steps.append(_carry_one(outcome, path, base[number], steps[-1], path in theirs))
    return result


def _carry_one(outcome: Outcome, path: str, base: bytes, theirs: bytes, present: bool) -> bytes:
    """Put one patch on one file, note what became of it, and return the file."""
    diff = outcome.patch.diff_of(path)
    if diff is None:
        return theirs
    lines = split_lines(theirs)
    try:
        edits = changes(diff, lines)
    except PatchError:
        if not present:
            conflict = Conflict(path, 0, tuple(text for x in diff.hunks for text in x.side("-")), (), ())
            outcome.conflicts.append(conflict)
            return theirs
        merged = merge(diff, split_lines(base), lines)
        outcome.conflicts += merged.conflicts
        shift = 0
        for edit, offset in zip(merged.edits, merged.offsets):
            outcome.moved.setdefault(path, []).append((edit.start + shift + 1, offset))
            shift += len(edit.lines) - (edit.stop - edit.start)
        edits = merged.edits
    outcome.edits += len(edits)
    return b"".join(splice(lines, edits))
