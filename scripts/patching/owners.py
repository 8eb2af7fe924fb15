# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Finds, for each edit of a patched file, the patch that it belongs to, and carries it back through the series."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Sequence

from .diff import CONTEXT, FileDiff, split_lines
from .place import Change, changes, compare


class Line:
    """A line with an identity, so that it can be followed through the stages of a file."""

    __slots__ = ("owner", "text")

    def __init__(self, text: bytes, owner: int | None = None):
        """Make a line.

        Args:
            text (bytes): Its text.
            owner (int, optional): Index of the patch that adds it; None for upstream's.
        """
        self.text = text
        self.owner = owner


@dataclass(frozen=True)
class Edit:
    """One change from the patched file to the tree's.

    Attributes:
        path (str): The file.
        change (Change): The change, in lines of the patched file.
        start (int): Its first line in the tree's file, from 1.
        stop (int): Its last line there; `start` - 1 when lines only went.
        owners (tuple[int, ...]): Indices of the patches that it may belong to; several are ambiguous.
    """

    path: str
    change: Change
    start: int
    stop: int
    owners: tuple[int, ...]

    def __str__(self) -> str:
        """Name the edit by its place in the tree."""
        return f"{self.path}:{self.start}" + (f"-{self.stop}" if self.stop > self.start else "")


class History:
    """A file through the series: its lines at every stage, and the places that each patch changes."""

    def __init__(self, path: str, pristine: bytes, diffs: list[FileDiff | None]):
        """Replay the series on one file.

        Args:
            path (str): The file.
            pristine (bytes): Upstream's content.
            diffs (list[FileDiff | None]): What each patch does to it, None where a patch leaves it alone.
        """
        self.path = path
        self.stages = [[Line(text) for text in split_lines(pristine)]]
        self.removed: list[tuple[int, list[Line], list[Line]]] = []  # patch, all lines before, the removed lines
        for by, diff in enumerate(diffs):
            lines = self.stages[-1]
            after = list(lines)
            for change in reversed(changes(diff, [line.text for line in lines]) if diff else []):
                after[change.start : change.stop] = [Line(text, by) for text in change.lines]
                if change.stop > change.start:
                    self.removed.append((by, lines[: change.start], lines[change.start : change.stop]))
            self.stages.append(after)
        self.places: list[tuple[int, int, int]] = [
            (owner, index, index + 1) for index, line in enumerate(self.final) if (owner := line.owner) is not None
        ]
        for by, before, _ in self.removed:
            at = _after(before, self.final)
            self.places.append((by, at, at))

    @property
    def final(self) -> list[Line]:
        """(list[Line]): The lines after the last patch."""
        return self.stages[-1]

    def edits(self, data: bytes) -> list[Edit]:
        """Return the edits that lead from the patched file to the tree's, with the patches they may belong to."""
        result, shift = [], 0
        for change in compare([line.text for line in self.final], split_lines(data)):
            start = change.start + shift + 1
            shift += len(change.lines) - (change.stop - change.start)
            result.append(Edit(self.path, change, start, start + len(change.lines) - 1, self._owners(change)))
        return result

    def _owners(self, change: Change) -> tuple[int, ...]:
        """Return the patches whose lines the change takes away, else those nearest within the context."""
        within = {line.owner for line in self.final[change.start : change.stop] if line.owner is not None}
        if within:
            return tuple(sorted(within))
        gaps: dict[int, int] = {}
        for owner, start, stop in self.places:
            gap = max(0, start - change.stop, change.start - stop)
            gaps[owner] = min(gap, gaps.get(owner, gap))
        nearest = min(gaps.values(), default=CONTEXT + 1)
        return tuple(sorted(owner for owner, gap in gaps.items() if gap == nearest <= CONTEXT))

    def carry(self, edits: list[tuple[int, Edit]], count: int) -> list[list[bytes]]:
        """Carry edits back to the patches that own them.

        Args:
            edits (list[tuple[int, Edit]]): Owner and edit, in the order of the file.
            count (int): Number of patches, which may be more than were replayed when new ones end the series.

        Returns:
            (list[list[bytes]]): Lines of the file at each of the `count` + 1 stages, with the edits made from their
                owner's stage on.
        """
        stages = self.stages + [self.final] * (count + 1 - len(self.stages))
        return [self._stage(lines, [edit for owner, edit in edits if owner < at]) for at, lines in enumerate(stages)]

    def _stage(self, lines: list[Line], edits: list[Edit]) -> list[bytes]:
        """Make edits, given in lines of the final stage, at an earlier stage."""
        gone = {line for edit in edits for line in self.final[edit.change.start : edit.change.stop]}
        added = [(_after(self.final[: edit.change.start], lines), edit.change.lines) for edit in edits]
        return _rebuild(lines, gone, added)

    def without(self, owner: int) -> list[list[bytes]]:
        """Undo one patch from its own stage on.

        Args:
            owner (int): Index of the patch.

        Returns:
            (list[list[bytes]]): Lines of the file at each stage; those before and after the patch are equal.
        """
        # noted from each file's end, since applying goes that way
        undone = [(before, lines) for who, before, lines in reversed(self.removed) if who == owner]
        result = []
        for at, lines in enumerate(self.stages):
            gone = {line for line in lines if line.owner == owner}
            added = [(_after(before, lines), [line.text for line in back]) for before, back in undone]
            result.append(_rebuild(lines, gone, added if at > owner else []))
        return result


def _after(before: list[Line], lines: list[Line]) -> int:
    """Return where the nearest of some earlier lines that is still there ends, the file's start if none is."""
    index_of = {line: index for index, line in enumerate(lines)}
    return next((index_of[line] + 1 for line in reversed(before) if line in index_of), 0)


def _rebuild(lines: list[Line], gone: set[Line], added: Sequence[tuple[int, Sequence[bytes]]]) -> list[bytes]:
    """Take lines away and put texts in, each at its index of the lines as they were."""
    inserted: dict[int, list[bytes]] = {}
    for at, texts in added:
        inserted.setdefault(at, []).extend(texts)
    result = list(inserted.get(0, []))
    for index, line in enumerate(lines):
        if line not in gone:
            result.append(line.text)
        result += inserted.get(index + 1, [])
    return result


def cut(edit: Edit, first: int, last: int) -> list[Edit]:
    """Cut an edit that only adds lines at the borders of a range of the tree's lines.

    Args:
        edit (Edit): The edit.
        first (int): First line of the range.
        last (int): Last line of the range.

    Returns:
        (list[Edit]): The pieces before, in and after the range, without empty ones; the edit itself if it also removes.
    """
    if edit.change.stop > edit.change.start or edit.stop < edit.start:
        return [edit]
    borders = sorted({edit.start, *(x for x in (first, last + 1) if edit.start < x <= edit.stop), edit.stop + 1})
    return [
        replace(
            edit,
            change=replace(edit.change, lines=edit.change.lines[start - edit.start : stop - edit.start]),
            start=start,
            stop=stop - 1,
        )
        for start, stop in zip(borders, borders[1:])
    ]
