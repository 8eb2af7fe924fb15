# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Unified diffs, read and placed without any leniency: what does not fit exactly is refused.

The parser is our own because the static check must run without any installed package, and because apply and check have to
share one strictness; patch libraries repair line ends, skip trailing text and ignore the new file's line numbers. Tests hold
it against two programs that nobody here wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from . import OVERLAY, PACKAGE, PatchError

CONTEXT = 3
NO_NEWLINE = b"\\ No newline at end of file\n"
HUNK_HEADER = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@\n")


@dataclass(frozen=True)
class Hunk:
    """One hunk: where it stands in the old and the new file, and its marked lines."""

    start: int
    new_start: int
    lines: tuple[tuple[str, bytes], ...]  # (" ", "-" or "+", text with its line end)
    where: str  # patch name and line, for messages

    def side(self, mark: str) -> list[bytes]:
        """Return the old lines (mark "-") or the new lines (mark "+"), context included."""
        return [text for kind, text in self.lines if kind in (" ", mark)]


@dataclass(frozen=True)
class FileDiff:
    """All hunks for one file."""

    path: str
    hunks: tuple[Hunk, ...]

    @property
    def changed(self) -> int:
        """(int): Added plus removed lines."""
        return sum(kind != " " for hunk in self.hunks for kind, _ in hunk.lines)


@dataclass(frozen=True)
class Change:
    """Lines `start` to `stop` (from 0, stop excluded) of a file give way to `lines`."""

    start: int
    stop: int
    lines: tuple[bytes, ...]


def split_lines(data: bytes) -> list[bytes]:
    """Split at line feeds only, keeping them; a lone carriage return is part of its line."""
    return data.splitlines(keepends=True) if b"\r" not in data else [x for x in re.findall(rb"[^\n]*\n?", data) if x]


def safe_path(path: str, where: str) -> str:
    """Refuse a path that could leave upstream's package or reach into ours.

    Args:
        path (str): Path as a patch or a wheel gives it.
        where (str): Who gives it, for the message.

    Returns:
        (str): The same path.
    """
    parts = path.split("/")
    bad = "\\" in path or ":" in path or "\0" in path or any(part in ("", ".", "..") for part in parts)
    if bad or parts[0] != PACKAGE or len(parts) < 2:
        raise PatchError(f"{where} names {path!r}: only plain paths inside {PACKAGE}/ are allowed.")
    if path == OVERLAY or path.startswith(OVERLAY + "/"):
        raise PatchError(f"{where} names {path!r}: {OVERLAY}/ is our own package, change it directly.")
    return path


def parse_diffs(lines: list[bytes], name: str, first: int) -> list[FileDiff]:
    """Parse the diff part of a patch file.

    Args:
        lines (list[bytes]): Lines from the first `--- ` on.
        name (str): Patch name, for messages.
        first (int): Number of the first of these lines in the patch file.

    Returns:
        (list[FileDiff]): One entry a file, in the order of the patch.
    """
    diffs: list[FileDiff] = []
    at = 0
    while at < len(lines):
        path = _parse_names(lines, at, f"{name}:{first + at}")
        if path in {diff.path for diff in diffs}:
            raise PatchError(f"{name}:{first + at} names {path} a second time: put its hunks together.")
        at += 2
        hunks: list[Hunk] = []
        while at < len(lines) and lines[at].startswith(b"@@"):
            hunk, at = _parse_hunk(lines, at, name, first)
            hunks.append(hunk)
        if not hunks:
            raise PatchError(f"{name}:{first + at} has no hunk for {path}: run `patchset.py refresh`.")
        diffs.append(FileDiff(path, tuple(hunks)))
    return diffs


def _parse_names(lines: list[bytes], at: int, where: str) -> str:
    """Read the two lines that name a file; files are neither added nor deleted nor renamed by a patch."""
    if not lines[at].startswith(b"--- ") or at + 1 >= len(lines) or not lines[at + 1].startswith(b"+++ "):
        raise PatchError(f"{where} has {_show(lines[at])}: expected `--- a/PATH` and `+++ b/PATH`, or a hunk.")
    try:
        old, new = (line[4:].rstrip(b"\n").decode() for line in lines[at : at + 2])
    except UnicodeDecodeError as error:
        raise PatchError(f"{where} has a path that is not UTF-8.") from error
    if "/dev/null" in (old, new):
        raise PatchError(f"{where} adds or deletes a file: new code belongs in {OVERLAY}/, a patch only changes files.")
    if not old.startswith("a/") or not new.startswith("b/") or old[2:] != new[2:]:
        raise PatchError(f"{where} names {old!r} and {new!r}: expected a/PATH and b/PATH with the same PATH.")
    return safe_path(old[2:], where)


def _parse_hunk(lines: list[bytes], at: int, name: str, first: int) -> tuple[Hunk, int]:
    """Read one hunk; return it and the index of the line after it."""
    where = f"{name}:{first + at}"
    header = HUNK_HEADER.fullmatch(lines[at])
    if not header:
        raise PatchError(f"{where} has {_show(lines[at])}: expected `@@ -START,COUNT +START,COUNT @@` and nothing more.")
    start, old_count, new_start, new_count = (1 if x is None else int(x) for x in header.groups())
    body: list[tuple[str, bytes]] = []
    old = new = 0
    at += 1
    while at < len(lines) and (old < old_count or new < new_count):
        mark, text = lines[at][:1].decode("latin-1"), lines[at][1:]
        if mark not in (" ", "-", "+") or not text.endswith(b"\n"):
            raise PatchError(f"{name}:{first + at} has {_show(lines[at])}: a hunk line starts with ' ', '-' or '+'.")
        old, new, at = old + (mark != "+"), new + (mark != "-"), at + 1
        if at < len(lines) and lines[at] == NO_NEWLINE:
            text, at = text[:-1], at + 1
        body.append((mark, text))
    if (old, new) != (old_count, new_count):
        raise PatchError(f"{where} promises {old_count} old and {new_count} new lines, but has {old} and {new}.")
    hunk = Hunk(start, new_start, tuple(body), where)
    _check_context(hunk)
    return hunk, at


def _check_context(hunk: Hunk) -> None:
    """Refuse a hunk without a change, or with more context than the rule allows."""
    marks = "".join(kind for kind, _ in hunk.lines)
    if not marks.strip():
        raise PatchError(f"{hunk.where} changes nothing: drop the hunk.")
    longest = max(len(marks) - len(marks.lstrip()), len(marks) - len(marks.rstrip()))
    inner = max((len(run) for run in re.findall(" +", marks.strip())), default=0)
    if longest > CONTEXT or inner > 2 * CONTEXT:
        raise PatchError(f"{hunk.where} has {max(longest, inner)} lines of context: at most {CONTEXT} on a side.")


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
                    f"{hunk.where} does not fit {diff.path}:{at + offset + 1}: it expects {_show(text)}, "
                    f"there is {_show(found)}."
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


def _span(start: int, stop: int) -> bytes:
    """Write a hunk's range; an empty one is named by the line before it."""
    count = stop - start
    return b"%d" % (start + 1) if count == 1 else b"%d,%d" % (start + bool(count), count)


def _mark(mark: bytes, text: bytes) -> bytes:
    """Write one hunk line."""
    return mark + text if text.endswith(b"\n") else mark + text + b"\n" + NO_NEWLINE


def _show(line: bytes) -> str:
    """Show a line in a message, cut to a readable length."""
    return repr(line.rstrip(b"\n").decode("utf-8", "replace")[:80])
