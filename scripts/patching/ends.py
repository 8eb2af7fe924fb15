# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Line ends: patches have LF, a user's checkout may have CRLF or a mixture, and keeps what it has."""

from __future__ import annotations

from .diff import split_lines
from .place import Change, compare, splice


def to_lf(data: bytes) -> bytes:
    """Return a text with LF line ends."""
    return data.replace(b"\r\n", b"\n")


def restyle(text: bytes, like: bytes) -> bytes:
    """Return a changed text with the line ends of the text that it came from.

    Args:
        text (bytes): The changed text, with LF line ends.
        like (bytes): The text before, with any line ends.

    Returns:
        (bytes): The changed text; lines that stayed have the bytes that they had, new ones the commoner line end.
    """
    lines = split_lines(like)
    crlf = sum(line.endswith(b"\r\n") for line in lines)
    if not crlf:
        return text
    end = b"\r\n" if 2 * crlf > len(lines) else b"\n"
    edits = compare([to_lf(line) for line in lines], split_lines(text))
    return b"".join(splice(lines, [Change(x.start, x.stop, _with_end(x.lines, end)) for x in edits]))


def _with_end(lines: tuple[bytes, ...], end: bytes) -> tuple[bytes, ...]:
    """Return lines with another end; a last line without one stays so."""
    return tuple(line[:-1] + end if line.endswith(b"\n") else line for line in lines)
