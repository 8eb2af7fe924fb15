# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Places a diff on a file that differs from the one it was made for: a three-way merge, with the pinned file as base.

The rule is diff3's: a change goes in where the other side left its lines and both neighbours alone, moved by what the
other side added and took away above; it is there already where both sides did the same; everything else is a conflict.
It is our own because it has to run in any user's Python, without git and without an installed package, and because all
that the other side wrote must survive to the byte. Tests hold it against two programs that nobody here wrote.
"""

from __future__ import annotations

from dataclasses import dataclass

from .diff import FileDiff
from .place import Change, changes, compare


@dataclass(frozen=True)
class Conflict:
    """A change of a patch, and a change of the other side in the same place.

    Attributes:
        path (str): The file.
        line (int): Line of the other side's file, from 1.
        pinned (tuple[bytes, ...]): The lines as the patch expects them.
        theirs (tuple[bytes, ...]): The lines as the other side has them.
        wanted (tuple[bytes, ...]): The lines as the patch would leave them.
    """

    path: str
    line: int
    pinned: tuple[bytes, ...]
    theirs: tuple[bytes, ...]
    wanted: tuple[bytes, ...]

    def describe(self, title: str, side: str) -> list[str]:
        """Tell the conflict in lines of text.

        Args:
            title (str): The patch.
            side (str): Whose the other side is.

        Returns:
            (list[str]): File, line and patch, then the three texts, each line marked with `|`.
        """
        lines = [f"{self.path}:{self.line}: {title} does not fit"]
        for what, texts in (("pinned", self.pinned), (side, self.theirs), ("the patch wants", self.wanted)):
            lines.append(f"  {what}:")
            lines += [f"    | {text.decode('utf-8', 'replace').rstrip()}" for text in texts] or ["    (nothing)"]
        return lines


@dataclass(frozen=True)
class Merged:
    """What became of a diff on the other side's file.

    Attributes:
        edits (list[Change]): The changes that go in, in the other side's lines.
        offsets (list[int]): By how many lines each of them moved.
        conflicts (list[Conflict]): The changes that do not.
    """

    edits: list[Change]
    offsets: list[int]
    conflicts: list[Conflict]


def merge(diff: FileDiff, base: list[bytes], theirs: list[bytes]) -> Merged:
    """Place a diff on the other side's version of a file.

    Args:
        diff (FileDiff): The diff.
        base (list[bytes]): The file that it was made for.
        theirs (list[bytes]): The other side's version, with the same line ends.

    Returns:
        (Merged): Changes and conflicts.

    Raises:
        PatchError: If the diff does not fit its own base.
    """
    return merge_changes(diff.path, changes(diff, base), base, theirs)


def merge_changes(path: str, edits: list[Change], base: list[bytes], theirs: list[bytes]) -> Merged:
    """Place changes of a base on another version of it.

    Args:
        path (str): The file, for messages.
        edits (list[Change]): The changes, in lines of the base.
        base (list[bytes]): The base.
        theirs (list[bytes]): The other version.

    Returns:
        (Merged): Changes and conflicts.
    """
    result = Merged([], [], [])
    drift = compare(base, theirs)
    for edit in edits:
        offset = sum(_growth(other) for other in drift if other.stop < edit.start)
        near = [other for other in drift if other.start <= edit.stop and other.stop >= edit.start]
        if not near:
            result.edits.append(Change(edit.start + offset, edit.stop + offset, edit.lines))
            result.offsets.append(offset)
            continue
        first, last = min(edit.start, near[0].start), max(edit.stop, near[-1].stop)
        found = tuple(theirs[first + offset : last + offset + sum(map(_growth, near))])
        wanted = (*base[first : edit.start], *edit.lines, *base[edit.stop : last])
        if found != wanted:
            result.conflicts.append(Conflict(path, first + offset + 1, tuple(base[first:last]), found, wanted))
    return result


def _growth(change: Change) -> int:
    """Return by how many lines a change makes a file longer."""
    return len(change.lines) - (change.stop - change.start)
