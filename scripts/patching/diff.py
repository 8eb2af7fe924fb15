# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Unified diffs, read without any leniency: what is not exactly as it should be is refused.

The parser is our own because the static check must run without any installed package, and because apply and check have
to share one strictness; patch libraries repair line ends, skip trailing text and ignore the new file's line numbers.
Tests hold it against two programs that nobody here wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
    if f"{path.lower()}/".startswith(f"{OVERLAY}/"):  # the same folder where names have no case
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
        raise PatchError(f"{where} has {show(lines[at])}: expected `--- a/PATH` and `+++ b/PATH`, or a hunk.")
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
        raise PatchError(f"{where} has {show(lines[at])}: expected `@@ -START,COUNT +START,COUNT @@` alone.")
    start, old_count, new_start, new_count = (1 if x is None else int(x) for x in header.groups())
    body: list[tuple[str, bytes]] = []
    old = new = 0
    at += 1
    while at < len(lines) and (old < old_count or new < new_count):
        mark, text = lines[at][:1].decode("latin-1"), lines[at][1:]
        if mark not in (" ", "-", "+") or not text.endswith(b"\n"):
            raise PatchError(f"{name}:{first + at} has {show(lines[at])}: a hunk line starts with ' ', '-' or '+'.")
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


def show(line: bytes) -> str:
    """Show a line in a message, cut to a readable length."""
    return repr(line.rstrip(b"\n").decode("utf-8", "replace")[:80])
