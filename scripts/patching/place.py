# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Puts a diff on a file's lines, exactly where it says and nowhere else, and makes one from two versions."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher

from . import PatchError
from .diff import CONTEXT, NO_NEWLINE, FileDiff, Hunk, show


@dataclass(frozen=True)
class Change:
    """Lines `start` to `stop` (from 0, stop excluded) of a file give way to `lines`."""

    start: int
    stop: int
    lines: tuple[bytes, ...]


def changes(diff: FileDiff, lines: list[bytes]) -> list[Change]:
    """Place a diff on a file's lines, exactly where it says and nowhere else.

    Args:
        diff (FileDiff): The diff.
        lines (list[bytes]): The file as it stands before.

    Returns:
        (list[Change]): The changes alone, without context, in order.

    Raises:
        PatchError: If a hunk does not fit.
    """
    result: list[Change] = []
    shift = end = 0
    for hunk in diff.hunks:
        old, new = hunk.side("-"), hunk.side("+")
        at = hunk.start - 1 if old else hunk.start
        if at < end or hunk.new_start != at + shift + (1 if new else 0):
            raise PatchError(f"{hunk.where} has line numbers that do not follow from the hunks before it.")
        for offset, text in enumerate(old):
            found = lines[at + offset] if at + offset < len(lines) else b"the end of the file"
            if found != text:
                raise PatchError(
                    f"{hunk.where} does not fit {diff.path}:{at + offset + 1}: it expects {show(text)}, "
                    f"there is {show(found)}."
                )
        result += _runs(hunk, at)
        end, shift = at + len(old), shift + len(new) - len(old)
    return result


def _runs(hunk: Hunk, at: int) -> list[Change]:
    """Group a hunk's changed lines into changes, counted from line `at`."""
    runs: list[Change] = []
    start, added = at, []
    for kind, text in (*hunk.lines, (" ", b"")):
        if kind == "+":
            added.append(text)
        elif kind == "-":
            at += 1
        else:
            if added or at > start:
                runs.append(Change(start, at, tuple(added)))
            at += 1
            start, added = at, []
    return runs


def splice(lines: list[bytes], edits: list[Change]) -> list[bytes]:
    """Return the lines with the changes made."""
    result = list(lines)
    for edit in reversed(edits):
        result[edit.start : edit.stop] = edit.lines
    return result


def compare(old: list[bytes], new: list[bytes]) -> list[Change]:
    """Return the changes that turn old into new, the same ones every time."""
    matcher = SequenceMatcher(None, old, new, autojunk=False)  # autojunk blurs diffs of files with many equal lines
    return [Change(i, j, tuple(new[k:m])) for tag, i, j, k, m in matcher.get_opcodes() if tag != "equal"]


def format_diff(path: str, old: list[bytes], new: list[bytes]) -> bytes:
    """Write the diff of one file, with three lines of context.

    Args:
        path (str): Path of the file, from the folder that holds the package.
        old (list[bytes]): Lines before.
        new (list[bytes]): Lines after.

    Returns:
        (bytes): The unified diff, empty when nothing differs.
    """
    body: list[bytes] = []
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT):
        i1, i2, j1, j2 = group[0][1], group[-1][2], group[0][3], group[-1][4]
        body.append(b"@@ -%s +%s @@\n" % (_span(i1, i2), _span(j1, j2)))
        for tag, i, j, k, m in group:
            if tag == "equal":
                body += [_mark(b" ", text) for text in old[i:j]]
            else:
                body += [_mark(b"-", text) for text in old[i:j]] + [_mark(b"+", text) for text in new[k:m]]
    return b"--- a/%s\n+++ b/%s\n" % (path.encode(), path.encode()) + b"".join(body) if body else b""


def add_diffs(diffs: list[dict[str, bytes]], path: str, steps: list[list[bytes]]) -> None:
    """Note what each patch does to a file.

    Args:
        diffs (list[dict[str, bytes]]): Each patch's diffs by path; those of this file are added.
        path (str): Path of the file.
        steps (list[list[bytes]]): Its lines before the first patch and after each one.
    """
    for some, old, new in zip(diffs, steps, steps[1:]):
        if diff := format_diff(path, old, new):
            some[path] = diff


def _span(start: int, stop: int) -> bytes:
    """Write a hunk's range; an empty one is named by the line before it."""
    count = stop - start
    return b"%d" % (start + 1) if count == 1 else b"%d,%d" % (start + bool(count), count)


def _mark(mark: bytes, text: bytes) -> bytes:
    """Write one hunk line."""
    return mark + text if text.endswith(b"\n") else mark + text + b"\n" + NO_NEWLINE
